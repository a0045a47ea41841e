"""Files of other programs are imported with all that can be kept of them."""

from __future__ import annotations

import pytest

from support.bulk import SAMPLES, counts, exported, faults, import_file, lines, pieces
from support.service import ServiceUnderTest


async def said(memory: ServiceUnderTest, namespace: str) -> list[str]:
    return [record["content"] for record in await exported(memory, namespace=namespace)]


async def test_memory_jsonl_of_server_memory(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, (SAMPLES / "memory.jsonl").read_bytes(), namespace="graph")

    assert counts(answer) == (8, 8, 0, 0)
    assert sorted(await said(memory, "graph")) == [
        "Anna_Weber leads Project Fjord",
        "Anna_Weber speaks Danish",
        "Anna_Weber works_at Nordlicht",
        "Anna_Weber: Prefers meetings before noon",
        "Anna_Weber: Works at Nordlicht as a data engineer",
        "Nordlicht: Has its office in Kiel",
        "Nordlicht: Prefers meetings before noon",
        "Project Fjord (project)",
    ]


async def test_entity_is_noted_with_each_of_its_observations(memory: ServiceUnderTest) -> None:
    await import_file(memory, (SAMPLES / "memory.jsonl").read_bytes(), namespace="noted")

    records = {record["content"]: record["metadata"] for record in await exported(memory, namespace="noted")}

    assert records["Nordlicht: Has its office in Kiel"] == {
        "title": "Nordlicht",
        "entity": "Nordlicht",
        "entity_type": "organization",
    }
    assert records["Anna_Weber works_at Nordlicht"] == {
        "title": "Anna_Weber",
        "from": "Anna_Weber",
        "relation": "works_at",
        "to": "Nordlicht",
    }


async def test_what_read_graph_of_server_memory_returns(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, (SAMPLES / "read_graph.json").read_bytes(), namespace="readgraph")

    assert counts(answer) == (3, 3, 0, 0)
    assert answer[-1]["file"] == "whole"
    assert 'Speaking_Style: Gives one example, {not} "two"' in await said(memory, "readgraph")


async def test_export_of_mcp_memory_service(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, (SAMPLES / "mcp_memory_service.json").read_bytes(), namespace="mms")

    first = (await exported(memory, namespace="mms"))[0]
    assert counts(answer) == (3, 3, 0, 0)
    assert first["content"] == "The staging database is refreshed every Sunday at 02:00 UTC."
    assert first["tags"] == ["staging", "database"]
    assert first["metadata"] == {"memory_type": "note", "project": "atlas", "source": "chat"}
    assert first["created_at"] == "2024-08-12T09:59:49.250000Z"


async def test_list_of_mcp_memory_service(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, (SAMPLES / "mcp_memory_service_list.json").read_bytes(), namespace="mmslist")

    second = (await exported(memory, namespace="mmslist"))[1]
    assert counts(answer) == (2, 2, 0, 0)
    assert second["tags"] == ["api", "retries"]
    assert second["created_at"] == "2025-01-02T08:00:00Z"


async def test_what_get_all_of_mem0_returns(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, (SAMPLES / "mem0.json").read_bytes(), namespace="mem0")

    first, second = await exported(memory, namespace="mem0")
    assert counts(answer) == (2, 2, 0, 0)
    assert first["metadata"] == {"category": "travel", "user_id": "alex"}
    assert (first["tags"], first["session_id"]) == (["travel", "plans"], "trip-planning")
    assert first["created_at"] == "2024-07-01T12:00:00.864647Z"
    assert second["metadata"] == {"user_id": "alex", "agent_id": "concierge"}


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize("name", ["memory.jsonl", "mcp_memory_service.json", "mem0.json"])
async def test_file_may_come_in_pieces_of_any_size(memory: ServiceUnderTest, name: str, size: int) -> None:
    whole = await import_file(memory, (SAMPLES / name).read_bytes(), namespace=f"whole{name}")

    cut = await import_file(memory, pieces((SAMPLES / name).read_bytes(), size), namespace=f"cut{size}{name}")

    assert counts(cut)[0] == counts(whole)[0]
    assert await said(memory, f"cut{size}{name}") == await said(memory, f"whole{name}")


async def test_mixed_file_is_read_record_by_record(memory: ServiceUnderTest) -> None:
    file = lines(
        {"content": "Ours."},
        {"type": "relation", "from": "A", "relationType": "knows", "to": "B"},
        {"memory": "Theirs.", "user_id": "u"},
        {"content": "Also theirs.", "content_hash": "x", "created_at": 1700000000},
    )

    answer = await import_file(memory, file, namespace="mixed")

    assert counts(answer) == (4, 4, 0, 0)


async def test_named_format_refuses_records_of_others(memory: ServiceUnderTest) -> None:
    file = lines({"memory": "Right."}, {"content": "Wrong."})

    answer = await import_file(memory, file, "?format=mem0", namespace="named")

    assert counts(answer) == (2, 1, 0, 1)
    assert faults(answer) == [(2, "")]


async def test_bad_element_of_a_document_is_named_by_line_and_pointer(memory: ServiceUnderTest) -> None:
    file = b'{"memories": [\n {"content": "Good.", "tags": []},\n {"content": "", "tags": []},\n 5]}'

    answer = await import_file(memory, file, namespace="element")

    assert faults(answer) == [(3, "/memories/1/content"), (4, "/memories/2")]
    assert counts(answer) == (3, 1, 0, 2)


async def test_bad_observation_is_named_and_the_others_kept(memory: ServiceUnderTest) -> None:
    file = lines({"type": "entity", "name": "E", "entityType": "t", "observations": ["Good.", 5, " ", "Good, too."]})

    answer = await import_file(memory, file, namespace="observed")

    assert faults(answer) == [(1, "/observations/1"), (1, "/observations/2")]
    assert counts(answer) == (4, 2, 0, 2)


async def test_truncated_document_is_recognised(memory: ServiceUnderTest) -> None:
    file = (SAMPLES / "mcp_memory_service.json").read_bytes()

    answer = await import_file(memory, file[: file.index(b"Rotate")], namespace="cutdocument")

    assert counts(answer) == (3, 2, 0, 1)
    assert answer[-1]["file"] == "truncated"


async def test_unknown_format_is_refused(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", "/api/v1/memory/import?format=csv", content=b"a,b")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "?format"
