"""Tools as agents are shown them: what they do, how careful to be, and no word too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fastmcp.tools import FunctionTool, Tool
from mcp_types import Tool as McpTool
from mcp_types import ToolAnnotations

from tmws_mcp_bridge.results import JsonSchema

ToolFunction = Callable[..., Any]
# Limits that few calls come near; a call that does is told so.
_UNSAID = frozenset(
    {
        "additionalProperties",
        "examples",
        "exclusiveMaximum",
        "maxItems",
        "maxLength",
        "minLength",
        "minimum",
        "pattern",
        "title",
    }
)


class BriefTool(FunctionTool):
    """A tool without fastmcp's notes about itself, and without a title that only repeats its name."""

    def to_mcp_tool(self, **overrides: Any) -> McpTool:
        """Return the tool as it goes over the wire."""
        return super().to_mcp_tool(**{"title": None, "_meta": None, **overrides})


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that is made only where it is offered: each takes some milliseconds of the start."""

    function: ToolFunction
    output: JsonSchema
    hints: ToolAnnotations

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.function.__name__

    @property
    def is_reading(self) -> bool:
        """Whether it changes nothing."""
        return bool(self.hints.read_only_hint)

    def make(self) -> Tool:
        """Return the tool."""
        tool = BriefTool.from_function(self.function, annotations=self.hints, output_schema=self.output)
        return tool.model_copy(update={"parameters": brief(tool.parameters)})


def reading(function: ToolFunction, output: JsonSchema) -> Offer:
    """Return a tool that changes nothing."""
    hints = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    return Offer(function, output, hints)


def writing(
    function: ToolFunction,
    output: JsonSchema,
    *,
    is_destructive: bool = False,
    is_idempotent: bool = False,
    is_open: bool = False,
) -> Offer:
    """Return a tool that changes something; an open one may reach beyond TMWS."""
    hints = ToolAnnotations(destructive_hint=is_destructive, idempotent_hint=is_idempotent, open_world_hint=is_open)
    return Offer(function, output, hints)


def brief(schema: JsonSchema) -> JsonSchema:
    """Return the schema of arguments without what only a validator needs; the arguments are checked all the same."""
    said = {name: _brief_part(name, part) for name, part in schema.items() if name not in _UNSAID}
    if said.get("default", 0) in (None, [], {}):
        del said["default"]
    # An enum's docstring is meant for whoever reads its code; its values speak for themselves.
    if "enum" in said:
        said.pop("description", None)
    choices = cast("list[JsonSchema]", said.get("anyOf") or [])
    if len(choices) != 2 or choices[1] != {"type": "null"}:
        return said
    del said["anyOf"]
    # Null stays allowed; that it is said breaks clients whose schemas know one type only.
    return {**choices[0], **said}


def _brief_part(name: str, part: Any) -> Any:
    if name == "properties":
        return {field: brief(schema) for field, schema in cast("dict[str, JsonSchema]", part).items()}
    if isinstance(part, dict):
        return brief(cast("JsonSchema", part))
    if name == "anyOf":
        return [brief(choice) for choice in cast("list[JsonSchema]", part)]
    return part
