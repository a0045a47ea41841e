"""Tools of the conformance fixture that ask something of the client: of its model, its user, its roots."""

import mcp_types as types
from fastmcp.exceptions import McpError
from fastmcp.server.context import Context
from fastmcp.tools.base import ToolResult

TEXT = {"type": "string"}


def form(message, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(text, max_tokens=100):
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def roots():
    return types.ListRootsRequest(params=types.RequestParams())


async def ask(ctx, asked, state=None):
    """Return what to ask, until all of it has been answered; then None."""
    answers = ctx.input_responses or {}
    if all(is_answered(answers.get(name)) for name in asked):
        return None
    return types.InputRequiredResult(input_requests=asked, request_state=state)


def is_answered(answer):
    return answer is not None and (not isinstance(answer, types.ElicitResult) or answer.content is not None)


async def test_input_required_result_elicitation(ctx: Context) -> ToolResult:
    """Ask for a name."""
    waiting = await ask(ctx, {"user_name": form("What is your name?", name=TEXT)})
    return waiting or ToolResult(content=f"Hello, {ctx.input_responses['user_name'].content.get('name')}!")


async def test_input_required_result_sampling(ctx: Context) -> ToolResult:
    """Ask the client's model."""
    waiting = await ask(ctx, {"capital_question": sampling("What is the capital of France?")})
    return waiting or ToolResult(content=str(ctx.input_responses["capital_question"].content))


async def test_input_required_result_list_roots(ctx: Context) -> ToolResult:
    """Ask for the client's roots."""
    waiting = await ask(ctx, {"client_roots": roots()})
    return waiting or ToolResult(content=str([str(root.uri) for root in ctx.input_responses["client_roots"].roots]))


async def test_input_required_result_request_state(ctx: Context) -> ToolResult:
    """Ask, and have a state brought back."""
    waiting = await ask(ctx, {"confirm": form("Please confirm", ok={"type": "boolean"})}, "state")
    return waiting or ToolResult(content=f"state-ok: {ctx.request_state}")


async def test_input_required_result_tampered_state(ctx: Context) -> ToolResult:
    """Ask, and have a state brought back that must be the same."""
    waiting = await ask(ctx, {"confirm": form("Please confirm", ok={"type": "boolean"})}, "state")
    return waiting or ToolResult(content="state-ok")


async def test_input_required_result_multiple_inputs(ctx: Context) -> ToolResult:
    """Ask for several things at once."""
    asked = {
        "user_name": form("What is your name?", name=TEXT),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": roots(),
    }
    return await ask(ctx, asked, "several") or ToolResult(content="All three came.")


async def test_input_required_result_multi_round(ctx: Context) -> ToolResult:
    """Ask twice."""
    if ctx.request_state != "second":
        waiting = await ask(ctx, {"step1": form("Step 1: What is your name?", name=TEXT)}, "first")
        if waiting:
            return waiting
    color = {"step2": form("Step 2: What is your favorite color?", color=TEXT)}
    return await ask(ctx, color, "second") or ToolResult(content="Both came.")


async def test_input_required_result_capabilities(ctx: Context) -> ToolResult:
    """Ask only for what the client can do."""
    can = ctx.session.client_params.capabilities
    asked = {"name": form("What is your name?", name=TEXT)} if can.elicitation else {}
    asked |= {"greeting": sampling("Generate a greeting")} if can.sampling else {}
    return await ask(ctx, asked) or ToolResult(content="Nothing to ask.")


async def ask_for_context(ctx: Context) -> str:
    """Ask what it is about."""
    waiting = await ask(ctx, {"user_context": form("What context should the prompt use?", context=TEXT)})
    return waiting or f"Context: {ctx.input_responses['user_context'].content.get('context')}"


async def test_streaming_elicitation(ctx: Context) -> ToolResult:
    """Tell its progress, and ask."""
    await ctx.report_progress(1, 2)
    waiting = await ask(ctx, {"user_name": form("What is your name?", name=TEXT)})
    return waiting or ToolResult(content="It came.")


async def test_logging_tool(ctx: Context) -> ToolResult:
    """Write to the client's log."""
    await ctx.info("Written")
    return ToolResult(content="Done.")


async def test_missing_capability(ctx: Context) -> ToolResult:
    """Need what few clients have."""
    if not ctx.session.client_params.capabilities.sampling:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise McpError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "The client cannot sample.", needed)
    return ToolResult(content="Done.")


async def test_sampling(prompt: str, ctx: Context) -> ToolResult:
    """Ask the client's model, in the era before 2026-07-28."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return ToolResult(content=f"LLM response: {answer.content.text}")


async def elicit(ctx, message, properties, required=()):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    answer = await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={answer.content}"


async def test_elicitation(message: str, ctx: Context) -> ToolResult:
    """Ask the client's user."""
    fields = {"username": {**TEXT, "description": "User's response"}, "email": {**TEXT, "description": "Address"}}
    return ToolResult(content=f"User response: {await elicit(ctx, message, fields, fields)}")


async def test_elicitation_sep1034_defaults(ctx: Context) -> ToolResult:
    """Ask with defaults."""
    fields = {
        "name": {**TEXT, "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {**TEXT, "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return ToolResult(content=f"Elicitation completed: {await elicit(ctx, 'Defaults', fields)}")


async def test_elicitation_sep1330_enums(ctx: Context) -> ToolResult:
    """Ask with every kind of choice."""
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    fields = {
        "untitledSingle": {**TEXT, "enum": options},
        "titledSingle": {**TEXT, "oneOf": titled},
        "legacyEnum": {**TEXT, "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {**TEXT, "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return ToolResult(content=f"Elicitation completed: {await elicit(ctx, 'Choices', fields)}")


TOOLS = (
    test_input_required_result_elicitation, test_input_required_result_sampling,
    test_input_required_result_list_roots, test_input_required_result_request_state,
    test_input_required_result_tampered_state, test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round, test_input_required_result_capabilities, test_streaming_elicitation,
    test_logging_tool, test_missing_capability, test_sampling, test_elicitation, test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
)  # fmt: skip
