"""Short ways to store and search in tests of the memory service."""

from __future__ import annotations

from typing import Any

from support.service import ServiceUnderTest


async def store(memory: ServiceUnderTest, content: str, **fields: Any) -> dict[str, Any]:
    """Store a memory in a namespace as a persona, if named, and return it."""
    caller = {name: fields.pop(name) for name in ("namespace", "persona") if name in fields}
    answer = await memory.call("POST", "/api/v1/memory/store", json={"content": content, **fields}, **caller)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def search(memory: ServiceUnderTest, query: str, **fields: Any) -> list[dict[str, Any]]:
    """Search and return the results."""
    caller = {name: fields.pop(name) for name in ("namespace", "persona", "scopes") if name in fields}
    answer = await memory.call("POST", "/api/v1/memory/search", json={"query": query, **fields}, **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def contents(memory: ServiceUnderTest, query: str, **fields: Any) -> list[str]:
    """Search and return what the results say, best first."""
    return [found["content"] for found in await search(memory, query, **fields)]
