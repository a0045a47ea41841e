"""One member of a JSON text changes, and every other byte stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_local.install_document import NotPlainJson, parse, with_member, without_member

PATH = ("mcpServers", "tmws")
ENTRY = {"command": "/x/tmws-mcp", "args": [], "env": {"TMWS_DATA_DIR": "/x"}}
OTHERS = """{
    "zeta": 1.50,
    "mcpServers": {
        "other": {"command": "npx", "env": {"KEY": "\\u00e9"}}
    },
    "alpha": [1e3]
}
"""
NAMES = st.text(max_size=5) | st.sampled_from(PATH)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4).filter(lambda it: isinstance(it.get(PATH[0], {}), dict))
LAYOUTS = st.sampled_from([None, 1, 2, 4, "\t"])


def test_other_servers_keys_their_order_and_numbers_stay():
    changed = with_member(OTHERS, PATH, ENTRY)
    assert (
        changed.replace(changed[changed.index(',\n        "tmws"') : changed.index('\n    },\n    "alpha"')], "")
        == OTHERS
    )
    assert json.loads(changed)["mcpServers"]["tmws"] == ENTRY


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "{}",
        '{"a":1}',
        '{"mcpServers":{}}',
        '{"mcpServers": {"x": {}}}',
        '{\n\t"a": "}",\n\t"mcpServers": {}\n}',
    ],
)
def test_the_entry_is_added_to_texts_of_several_shapes(text):
    assert parse(with_member(text, PATH, ENTRY)) == {
        **parse(text),
        "mcpServers": {**parse(text).get("mcpServers", {}), "tmws": ENTRY},
    }


def test_an_entry_that_is_there_is_replaced_where_it_is():
    once = with_member(OTHERS, PATH, {"command": "/old"})
    assert with_member(once, PATH, ENTRY) == with_member(OTHERS, PATH, ENTRY)


def test_the_same_entry_again_changes_nothing():
    once = with_member(OTHERS, PATH, ENTRY)
    assert with_member(once, PATH, ENTRY) == once


def test_what_was_added_can_be_taken_away_again():
    assert without_member(with_member(OTHERS, PATH, ENTRY), PATH) == OTHERS


@pytest.mark.parametrize("text", ["", "{}", '{"mcpServers":{"other":{}}}'])
def test_nothing_is_taken_away_where_nothing_is(text):
    assert without_member(text, PATH) == text


def test_windows_line_ends_stay():
    changed = with_member(OTHERS.replace("\n", "\r\n"), PATH, ENTRY)
    assert changed.count("\n") == changed.count("\r\n")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1,}', '// x\n{"a": 1}', '{"a": 1} /* x */', "{'a': 1}", '{"a": NaN}', '{"a": 1, "a": 2}', "[]", "null",
        '{"mcpServers": []}', '{"a": 1}{}', "{" * 100_000, '{"mcpServers": "x"}',
    ],
)  # fmt: skip
def test_what_is_no_plain_json_object_is_refused(text):
    with pytest.raises(NotPlainJson):
        with_member(text, PATH, ENTRY)


@given(DOCUMENTS, LAYOUTS)
def test_any_document_is_itself_again_without_the_entry(document, layout):
    text = json.dumps(document, indent=layout)
    changed = with_member(text, PATH, ENTRY)
    servers = {**document.get("mcpServers", {}), "tmws": ENTRY}
    assert json.loads(changed) == {**document, "mcpServers": servers}
    rest = {name: server for name, server in servers.items() if name != "tmws"}
    assert json.loads(without_member(changed, PATH)) == {**document, "mcpServers": rest}
