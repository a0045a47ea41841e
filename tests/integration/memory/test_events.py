"""What happens to memories is told to others: never their content, and private ones only to their owner."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_shared.database import Database

MEMORY = "/api/v1/memory"
SECRET = "the whale song of thursday"


@pytest.fixture
async def outbox(database: DatabaseUrls, memory_alone: ServiceUnderTest) -> AsyncGenerator[Database]:
    opened = await Database.connect(database.for_service("memory"), name="test", max_size=2)
    await opened.execute("TRUNCATE outbox")
    yield opened
    await opened.close()


async def told(outbox: Database) -> list[tuple[str, str, Any]]:
    rows = await outbox.fetch("SELECT type, subject, data FROM outbox ORDER BY position")
    return [(row["type"], row["subject"], row["data"]) for row in rows]


async def store(memory: ServiceUnderTest, content: str = SECRET, **fields: Any) -> str:
    body = {"content": content, "tags": ["whales"], **fields}
    answer = await memory.call("POST", f"{MEMORY}/store", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_life_of_a_memory_is_told_without_its_content(memory_alone: ServiceUnderTest, outbox: Database) -> None:
    memory_id = await store(memory_alone)
    path = f"{MEMORY}/{memory_id}"
    await memory_alone.call("PATCH", path, json={"importance": 0.9, "tags": ["song"]})
    await memory_alone.call("DELETE", path)
    await memory_alone.call("POST", f"{path}/restore")
    await memory_alone.call("DELETE", path, params={"purge": "true"})
    events = await told(outbox)
    assert [event[0] for event in events] == [
        "memory.stored", "memory.updated", "memory.deleted", "memory.restored", "memory.deleted",
    ]  # fmt: skip
    assert {event[1] for event in events} == {memory_id}
    assert events[0][2] == {"ids": [memory_id], "count": 1, "persona_id": None, "tags": ["whales"]}
    assert events[1][2] == {"action": "changed", "version": 2, "persona_id": None, "tags": ["song"]}
    assert SECRET not in str(events)


async def test_private_memory_is_told_of_to_its_owner(memory_alone: ServiceUnderTest, outbox: Database) -> None:
    memory_id = await store(memory_alone, "only mine", visibility="private")
    body = {"persona_id": "muses-documenter"}
    shared = await memory_alone.call("POST", f"{MEMORY}/{memory_id}/share", json=body)
    assert shared.status_code == 201, shared.text
    events = await told(outbox)
    assert [event[0] for event in events] == ["memory.stored", "memory.shared"]
    assert [event[2]["audience"] for event in events] == [["subject:tester"]] * 2


async def test_batch_is_told_of_in_one_event(memory_alone: ServiceUnderTest, outbox: Database) -> None:
    items = [{"content": f"memory {number} of a batch", "tags": [str(number)]} for number in range(150)]
    answer = await memory_alone.call("POST", f"{MEMORY}/store/batch", json={"items": items})
    assert answer.status_code == 200, answer.text
    [(kind, _, data)] = await told(outbox)
    assert (kind, data["count"], len(data["ids"])) == ("memory.stored", 150, 100)


async def test_repeated_memory_is_not_told_again(memory_alone: ServiceUnderTest, outbox: Database) -> None:
    await store(memory_alone, "said twice")
    again = await memory_alone.call("POST", f"{MEMORY}/store", json={"content": "said twice", "tags": ["whales"]})
    assert again.json()["deduplicated"]
    assert [event[0] for event in await told(outbox)] == ["memory.stored"]
