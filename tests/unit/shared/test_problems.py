"""Problem documents."""

import orjson

from tmws_shared.app import explain
from tmws_shared.problems import InvalidRequest, TooManyRequests, Unavailable


class TaskConflict(InvalidRequest):
    """The task is in the way."""


def test_title_is_the_docstring() -> None:
    assert TaskConflict().document()["title"] == "The task is in the way"


def test_type_is_made_from_the_class_name() -> None:
    assert TaskConflict.type() == "urn:tmws:problem:task-conflict"


def test_document_has_no_empty_members() -> None:
    assert set(TaskConflict().document()) == {"type", "title", "status", "retryable"}


def test_facts_become_members() -> None:
    assert orjson.loads(TaskConflict(limit=3).body())["limit"] == 3


def test_unavailable_says_when_to_come_back() -> None:
    assert Unavailable(retry_after_s=7).headers["Retry-After"] == "7"
    assert TooManyRequests(retry_after_s=2).headers["Retry-After"] == "2"


def test_parse_error_keeps_the_value_to_itself() -> None:
    error = {"type": "uuid_parsing", "loc": ("body", "id"), "msg": "Input should be a valid UUID, found `q` at 1"}
    assert explain(error).detail == "Input should be a valid UUID"


def test_pointer_escapes_slash_and_tilde() -> None:
    assert explain({"type": "missing", "loc": ("body", "a/b~c", 0), "msg": "Field required"}).pointer == "/a~1b~0c/0"


def test_query_header_and_path_have_their_own_marks() -> None:
    pointers = [
        explain({"type": "missing", "loc": (place, "x"), "msg": ""}).pointer for place in ("query", "header", "path")
    ]
    assert pointers == ["?x", "@x", "#x"]
