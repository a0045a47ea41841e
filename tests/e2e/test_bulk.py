"""Streams of memories through the gateway of a whole stack."""

from __future__ import annotations

import http.client
import json
import uuid
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.long

NDJSON = {"content-type": "application/x-ndjson"}
MIB = 1024 * 1024


def records(count, mark, size=0):
    return [{"content": f"{mark} {n} {'x' * size}".strip(), "tags": [mark]} for n in range(count)]


def pieces(items):
    yield from (json.dumps(item).encode() + b"\n" for item in items)


def lines(answer):
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def import_pieces(api, body, query=""):
    return lines(api.post(f"/api/v1/memory/import{query}", content=body, headers=NDJSON))


def test_a_file_larger_than_any_other_body_is_imported(api):
    mark = uuid.uuid4().hex
    items = records(2500, mark, 1000)
    answer = import_pieces(api, pieces(items))
    assert sum(len(piece) for piece in pieces(items)) > 2 * MIB
    assert (answer[-1]["read"], answer[-1]["stored"], answer[-1]["failed"]) == (2500, 2500, 0)


def test_an_export_comes_back_through_an_import(api):
    mark = uuid.uuid4().hex
    import_pieces(api, pieces(records(3, mark)))
    exported = api.get("/api/v1/memory/export", params={"tags": mark})
    answer = import_pieces(api, exported.content)
    assert exported.headers["content-type"] == "application/x-ndjson"
    assert (answer[-1]["deduplicated"], answer[-1]["file"]) == (3, "whole")


def test_a_json_document_is_imported_as_json(api):
    mark = uuid.uuid4().hex
    document = {"results": [{"id": "1", "memory": mark, "user_id": "u"}]}
    answer = lines(api.post("/api/v1/memory/import", json=document))
    assert answer[-1]["stored"] == 1


def test_ten_thousand_bad_lines_are_named_to_a_caller_that_sends_all_before_it_reads(api):
    answer = import_pieces(api, pieces([{"content": "x", "importance": 2}] * 12_000))
    named = [line["line"] for line in answer if "errors" in line]
    assert named == list(range(1, 10_001))
    assert (answer[-1]["failed"], answer[-1]["faults_left_off"]) == (12_000, 2_000)


def test_progress_comes_while_the_file_is_still_sent(stack):
    address = urlsplit(stack.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    mark = uuid.uuid4().hex
    body = b"".join(pieces(records(2000, mark)))
    connection.putrequest("POST", "/api/v1/memory/import?import_id=" + mark)
    connection.putheader("Content-Type", NDJSON["content-type"])
    connection.putheader("Content-Length", str(len(body) + 1))
    connection.endheaders()
    connection.send(body)
    answer = connection.sock.makefile("rb")
    while b'"stored":' not in (line := answer.readline()):
        assert line
    connection.send(b"\n")
    while b'"done":' not in (line := answer.readline()):
        assert line
    connection.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-ndjson; charset=utf-16", "multipart/form-data"])
def test_an_import_of_another_type_is_refused(api, kind):
    answer = api.post("/api/v1/memory/import", content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_compressed_import_is_refused(api):
    answer = api.post("/api/v1/memory/import", content=b"{}", headers={**NDJSON, "content-encoding": "gzip"})
    assert answer.status_code == 415


def test_an_import_without_a_body_is_refused(api):
    answer = api.post("/api/v1/memory/import", content=b"", headers=NDJSON)
    assert answer.status_code == 400


def test_an_import_over_the_limit_is_refused_before_it_is_sent(stack):
    address = urlsplit(stack.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.putrequest("POST", "/api/v1/memory/import")
    connection.putheader("Content-Type", NDJSON["content-type"])
    connection.putheader("Content-Length", str(1024 * MIB + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_ndjson_is_for_imports_only(api):
    answer = api.post("/api/v1/memory/store", content=b'{"content": "x"}', headers=NDJSON)
    assert answer.status_code == 415
