"""The personas every namespace begins with, from `seeds.toml`."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from importlib.resources import files

from tmws_contracts.persona import NewPersona


@cache
def built_in_personas() -> tuple[NewPersona, ...]:
    """Return the built-in personas."""
    document = tomllib.loads(files("tmws_persona").joinpath("seeds.toml").read_text(encoding="utf-8"))
    return tuple(NewPersona.model_validate(persona) for persona in document["persona"])


def digest(persona: NewPersona) -> bytes:
    """Return what tells one release's seed from another's."""
    return hashlib.sha256(persona.model_dump_json().encode()).digest()
