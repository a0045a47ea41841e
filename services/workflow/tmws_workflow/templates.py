"""Values with expressions in them: `${{ … }}` in any string of a step's `with`.

A string that is one expression keeps the expression's type; in longer text its value is written into the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import orjson

from tmws_workflow.expressions import Expression, ExpressionError, compile_expression, tokens_of

OPEN, CLOSE = "${{", "}}"
_DEPTH = {"{": 1, "}": -1}


@dataclass(frozen=True, slots=True)
class Text:
    """A string with expressions in it: literal parts and expressions, in order."""

    parts: tuple[str | Expression, ...]

    @property
    def is_one_expression(self) -> bool:
        """Whether there is nothing but one expression."""
        return len(self.parts) == 1 and isinstance(self.parts[0], Expression)


Template: TypeAlias = Any
Report = Callable[[str, str], None]
Compile = Callable[[str], Expression]


def parse_template(value: Any, pointer: str, report: Report, compile_: Compile = compile_expression) -> Template:
    """Return the value with every string that holds expressions compiled; problems go to `report`."""
    if isinstance(value, str):
        return _parse_text(value, pointer, report, compile_)
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [parse_template(item, f"{pointer}/{place}", report, compile_) for place, item in enumerate(items)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {
            key: parse_template(item, f"{pointer}/{escape(key)}", report, compile_) for key, item in members.items()
        }
    return value


def _parse_text(text: str, pointer: str, report: Report, compile_: Compile) -> str | Text:
    if OPEN not in text:
        return text
    try:
        return Text(tuple(_split(text, compile_)))
    except ExpressionError as error:
        report(pointer, str(error))
        return text


def _split(text: str, compile_: Compile) -> Iterator[str | Expression]:
    start = 0
    while (opened := text.find(OPEN, start)) >= 0:
        if opened > start:
            yield text[start:opened]
        closed = _find_close(text, opened + len(OPEN))
        yield compile_(text[opened + len(OPEN) : closed].strip())
        start = closed + len(CLOSE)
    if start < len(text):
        yield text[start:]


def _find_close(text: str, start: int) -> int:
    """Where the expression ends: the first `}}` outside its strings and its own braces."""
    depth = 0
    for token in tokens_of(text, start):
        depth += _DEPTH.get(token.text, 0)
        if depth < 0:
            if text.startswith(CLOSE, token.end - 1):
                return token.end - 1
            break
    raise ExpressionError("${{ must be closed by }}")


def expressions_in(template: Template) -> Iterator[Expression]:
    """Yield every expression of a template."""
    if isinstance(template, Text):
        yield from (part for part in template.parts if isinstance(part, Expression))
    elif isinstance(template, list):
        for item in cast("list[Any]", template):
            yield from expressions_in(item)
    elif isinstance(template, dict):
        for item in cast("dict[str, Any]", template).values():
            yield from expressions_in(item)


def fill(template: Template, values: Mapping[str, Any]) -> Any:
    """Return the template with each expression replaced by its value, given by the expression's text."""
    if isinstance(template, Text):
        return _fill_text(template, values)
    if isinstance(template, list):
        return [fill(item, values) for item in cast("list[Any]", template)]
    if isinstance(template, dict):
        return {key: fill(item, values) for key, item in cast("dict[str, Any]", template).items()}
    return template


def _fill_text(text: Text, values: Mapping[str, Any]) -> Any:
    if text.is_one_expression:
        return values[cast("Expression", text.parts[0]).text]
    return "".join(part if isinstance(part, str) else _as_text(values[part.text]) for part in text.parts)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def escape(name: str) -> str:
    """Return a member's name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
