"""Secrets that steps may send without knowing them, each bound to the hosts it is for.

    {"GITHUB": {"value": "ghp_…", "hosts": ["api.github.com"], "namespaces": ["default"]}}

Without `namespaces` every namespace may use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

# A shorter one would be found by chance in what is redacted.
MIN_CHARS = 8
REDACTED = "[redacted]"
EXPECTED = 'must be a JSON object such as {"NAME": {"value": "at least 8 characters", "hosts": ["api.example.com"]}}'


class _Secret(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    value: Annotated[SecretStr, Field(min_length=MIN_CHARS)]
    hosts: Annotated[frozenset[str], Field(min_length=1)]
    namespaces: frozenset[str] | None = None


_KNOWN = TypeAdapter(dict[str, _Secret])


class Secrets:
    """What the operator has given to steps."""

    def __init__(self, known: Mapping[str, _Secret] | None = None) -> None:
        self._known = known or {}

    @classmethod
    def parse(cls, text: str) -> Secrets:
        """Return the secrets that a setting holds.

        Raises:
            ValueError: it is not such an object; nothing of it is repeated.
        """
        if not text:
            return cls()
        try:
            return cls(_KNOWN.validate_python(orjson.loads(text)))
        except (orjson.JSONDecodeError, ValidationError):
            raise ValueError(EXPECTED) from None

    def get(self, name: str, host: str, namespace: str) -> str | None:
        """Return a secret; None when there is none that this namespace may send to this host."""
        secret = self._known.get(name)
        if secret is None or host not in {item.lower() for item in secret.hosts}:
            return None
        if secret.namespaces is not None and namespace not in secret.namespaces:
            return None
        return secret.value.get_secret_value()


def redact(value: Any, secrets: Iterable[str]) -> Any:
    """Return a JSON value without the secrets, wherever in its texts they are."""
    found = list(secrets)
    return _redact(value, found) if found else value


def _redact(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, list):
        return [_redact(item, secrets) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {_redact(key, secrets): _redact(item, secrets) for key, item in members.items()}
    return value
