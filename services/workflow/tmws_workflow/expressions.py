"""Expressions in definitions: CEL, compiled when saved, evaluated within a budget.

CEL has no loops but its macros, RE2 has no evil patterns, and cel-cpp stops after 10,000 iterations. What is
left is size: an expression whose work could grow beyond `INLINE_WORK` is evaluated in a process of its own.
"""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import orjson
from cel_expr_python import cel

MAX_CHARS = 4_096
MAX_VALUE_BYTES = 1024 * 1024
INLINE_WORK = 4 * 1024 * 1024
ROOTS = ("inputs", "steps", "execution")
EXECUTION_FIELDS = frozenset({"id", "workflow_id", "namespace"})
STEP_FIELDS = frozenset({"output", "status", "error"})
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
      | (?P<string>[rRbB]{0,2}(?:\"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
                              | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*'))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<number>\d[\w.]*)
      | (?P<space>\s+)
      | (?P<sign>&&|\|\||[=!<>]=|.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_POSITION = re.compile(r"<input>:\d+:(\d+): (.*)")
_STATUS_CODE = re.compile(r"^[A-Z_]+: ")


class ExpressionError(Exception):
    """An expression cannot be compiled, or gave no value."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A value an expression reads: `root.name.field`; None where it reads the whole."""

    root: str
    name: str | None
    field: str | None


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; `knows_item` when it may read the `item` of a map and its `index`."""

    text: str
    program: cel.Expression
    references: frozenset[Reference]
    operations: int
    has_macros: bool
    knows_item: bool = False

    @property
    def steps(self) -> frozenset[str]:
        """The steps it reads."""
        return frozenset(item.name for item in self.references if item.root == "steps" and item.name)

    def is_light(self, data_bytes: int) -> bool:
        """Whether its work on so much data is surely small.

        Without macros each operation runs once, on operands no larger than all data times the operations before it.
        """
        return not self.has_macros and (self.operations + 1) ** 2 * data_bytes <= INLINE_WORK


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression; `end` is where it ends in the text."""

    kind: str
    text: str
    end: int


def tokens_of(text: str, start: int = 0) -> list[Token]:
    """Return the tokens of a text from `start` on, without white space and comments."""
    found = (Token(cast("str", match.lastgroup), match.group(), match.end()) for match in _TOKEN.finditer(text, start))
    return [token for token in found if token.kind not in ("space", "comment")]


def _environment(**others: cel.Type) -> cel.Env:
    mapping = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return cel.NewEnv(variables=dict.fromkeys(ROOTS, mapping) | others)


_ENVIRONMENT = _environment()
_ITEM_ENVIRONMENT = _environment(item=cel.Type.DYN, index=cel.Type.INT)


@lru_cache(maxsize=4_096)
def compile_expression(text: str, *, knows_item: bool = False) -> Expression:
    """Compile an expression over `inputs`, `steps` and `execution`, and `item` and `index` where they are known.

    Raises:
        ExpressionError: it is not valid CEL, or too long.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"must not be longer than {MAX_CHARS} characters")
    try:
        program = (_ITEM_ENVIRONMENT if knows_item else _ENVIRONMENT).compile(text)
    except RuntimeError as error:
        raise ExpressionError(_explain_compile(str(error))) from None
    tokens = tokens_of(text)
    calls = [before.text for before, after in pairwise(tokens) if after.text == "("]
    return Expression(
        text=text,
        program=program,
        references=frozenset(_references(tokens)),
        operations=sum(_is_operation(token) for token in tokens),
        has_macros=any(name in _MACROS for name in calls),
        knows_item=knows_item,
    )


def _is_operation(token: Token) -> bool:
    return token.text == "in" or (token.kind == "sign" and token.text not in ".,)]}")


def _explain_compile(message: str) -> str:
    found = _POSITION.search(message)
    if found is None:
        return "must not be nested so deep or chained so long: " + message.partition("\n")[0].split("ERROR: ")[-1]
    column, reason = found.groups()
    return f"character {column}: {reason.replace(' [INVALID_ARGUMENT]', '')}"


def _references(tokens: list[Token]) -> list[Reference]:
    found: list[Reference] = []
    for place, token in enumerate(tokens):
        if token.kind == "name" and token.text in ROOTS and (place == 0 or tokens[place - 1].text != "."):
            name, after = _member(tokens, place + 1)
            field = _member(tokens, after)[0] if name is not None else None
            found.append(Reference(token.text, name, field))
    return found


def _member(tokens: list[Token], place: int) -> tuple[str | None, int]:
    """The name in `.name` or `["name"]` at a place, and the place after it."""
    rest = tokens[place : place + 3]
    is_call = len(rest) == 3 and rest[2].text == "("
    if len(rest) >= 2 and rest[0].text == "." and rest[1].kind == "name" and not is_call:
        return rest[1].text, place + 2
    if len(rest) == 3 and rest[0].text == "[" and rest[1].kind == "string" and rest[2].text == "]":
        return rest[1].text.strip("rRbB").strip("\"'"), place + 3
    return None, place


def is_condition(expression: Expression) -> bool:
    """Whether the expression can give true or false, as far as its compiled type tells."""
    return expression.program.return_type() in (cel.Type.BOOL, cel.Type.DYN)


def evaluate(expression: Expression, data: dict[str, Any]) -> Any:
    """Return the expression's value as JSON, on `{"inputs": …, "steps": …, "execution": …}`.

    Raises:
        ExpressionError: it has no value, one that JSON has no form for, or one that is too large.
    """
    try:
        value = expression.program.eval(data=data)
        kind = value.type().name()
        plain = value.plain_value()
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise ExpressionError(_explain(str(error))) from None
    if kind in ("ERROR", "UNKNOWN"):
        raise ExpressionError(_explain(str(plain)))
    return _as_json(plain)


def _explain(message: str) -> str:
    text = _STATUS_CODE.sub("", message).partition("\n")[0]
    return re.sub(r" \[[A-Z_]+\]$", "", text)


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if "\x00" in value:
            raise ExpressionError("the value contains U+0000")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("the value is NaN or infinite")
        return value
    if isinstance(value, list):
        return [_as_json(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_key(key): _as_json(item) for key, item in cast("dict[Any, Any]", value).items()}
    return _scalar_as_json(value)


def _scalar_as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    raise ExpressionError("the value is a type, which JSON has no form for")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise ExpressionError("the value is a map whose keys are not all strings")


def json_bytes(value: object) -> int:
    """Return how large a value is as JSON."""
    return len(orjson.dumps(value))


def check_size(value: object) -> None:
    """Return when a value is not too large to be kept.

    Raises:
        ExpressionError: larger than MAX_VALUE_BYTES as JSON.
    """
    if json_bytes(value) > MAX_VALUE_BYTES:
        raise ExpressionError(f"the value is larger than {MAX_VALUE_BYTES // 1024} KiB")
