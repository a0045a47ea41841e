"""The server that the official conformance suite examines, made as the bridge's own is.

    python tests/conformance/fixture.py PORT [stateful]

The suite asks for tools, resources and prompts of fixed names, which have no place in the bridge itself; what is
examined is everything around them: the protocol in both eras, the HTTP app, its host and origin checks, the errors.
The era before 2026-07-28 has requests from the server to the client, which need a session.
"""

import sys

import uvicorn
from capabilities import TOOLS as MORE_TOOLS
from capabilities import ask_for_context
from fastmcp.prompts import Message, Prompt, PromptResult
from fastmcp.resources import FunctionResource
from fastmcp.resources.template import ResourceTemplate
from fastmcp.server.context import Context
from fastmcp.tools import Tool
from fastmcp.tools.base import ToolResult
from mcp_types import AudioContent, EmbeddedResource, ImageContent, TextContent, TextResourceContents

from tmws_mcp_bridge.errors import CallFailed
from tmws_mcp_bridge.server import http_app_of, new_server

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="


def embedded(uri, text, mime_type="text/plain"):
    resource = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=resource)


def image():
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


async def test_simple_text() -> ToolResult:
    """Answer with a text."""
    return ToolResult(content="This is a simple text response for testing.")


async def test_image_content() -> ToolResult:
    """Answer with an image."""
    return ToolResult(content=[image()])


async def test_audio_content() -> ToolResult:
    """Answer with a sound."""
    return ToolResult(content=[AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")])


async def test_embedded_resource() -> ToolResult:
    """Answer with a resource."""
    return ToolResult(content=[embedded("test://embedded-resource", "This is an embedded resource content.")])


async def test_multiple_content_types() -> ToolResult:
    """Answer with a text, an image and a resource."""
    data = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return ToolResult(content=[TextContent(type="text", text="Multiple content types test:"), image(), data])


async def test_error_handling() -> ToolResult:
    """Fail as the bridge's tools do."""
    raise CallFailed("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Context) -> ToolResult:
    """Tell how far it is."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
    return ToolResult(content="Done.")


async def test_tool_with_logging(ctx: Context) -> ToolResult:
    """Write to the client's log."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
    return ToolResult(content="Done.")


TOOLS = (
    test_simple_text, test_image_content, test_audio_content, test_embedded_resource, test_multiple_content_types,
    test_error_handling, test_tool_with_progress, test_tool_with_logging, *MORE_TOOLS,
)  # fmt: skip


def static_text() -> str:
    """Return a text."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """Return an image."""
    return b"\x89PNG"


def watched() -> str:
    """Return a text that could change."""
    return "Watched"


def data_of(id: str) -> str:
    """Return what was asked for."""
    return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def simple_prompt() -> str:
    """Return a text."""
    return "This is a simple prompt for testing."


def prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Return its arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def prompt_with_resource(resourceUri: str) -> PromptResult:  # noqa: N803 -- the suite's name
    """Return a resource."""
    resource = embedded(resourceUri, "Embedded resource content for testing.")
    return PromptResult([Message(resource), Message("Please process the embedded resource above.")])


def prompt_with_image() -> PromptResult:
    """Return an image."""
    return PromptResult([Message(image()), Message("Please analyze the image above.")])


PROMPTS = {
    "test_simple_prompt": simple_prompt,
    "test_prompt_with_arguments": prompt_with_arguments,
    "test_prompt_with_embedded_resource": prompt_with_resource,
    "test_prompt_with_image": prompt_with_image,
    "test_input_required_result_prompt": ask_for_context,
}


def make_server():
    """Return the bridge's server with what the suite asks for."""
    server = new_server([Tool.from_function(tool, output_schema=None) for tool in TOOLS])
    for uri, function, mime_type in (
        ("test://static-text", static_text, "text/plain"),
        ("test://static-binary", static_binary, "image/png"),
        ("test://watched-resource", watched, "text/plain"),
    ):
        server.add_resource(FunctionResource.from_function(function, uri=uri, mime_type=mime_type))
    server.add_template(
        ResourceTemplate.from_function(data_of, "test://template/{id}/data", mime_type="application/json")
    )
    for name, prompt in PROMPTS.items():
        server.add_prompt(Prompt.from_function(prompt, name=name))
    server.add_completion_handler(lambda *_: ["paris", "park", "party"])
    return server


if __name__ == "__main__":
    app = http_app_of(make_server(), ("127.0.0.1",), is_stateless=sys.argv[2:] != ["stateful"])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", ws="none")
