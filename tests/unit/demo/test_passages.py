"""How pages and modules become passages."""

from tmws_local.demo.passages import collect, from_markdown, from_python

LONG = "A sentence that is long enough to be a passage of its own, with some words to spare. "
DOCSTRING = "Tell what the module is for, at such a length that it can be understood by itself. " * 2


def passages(text):
    return list(from_markdown("page.md", text))


def test_a_passage_stands_below_its_headings():
    found = passages(f"# Top\n## Middle\n{LONG}\n")
    assert [passage.heading for passage in found] == ["Top > Middle"]


def test_a_heading_ends_those_below_it():
    found = passages(f"# Top\n## One\n{LONG}\n## Two\n{LONG}\n")
    assert [passage.heading for passage in found] == ["Top > One", "Top > Two"]


def test_a_hash_in_code_is_no_heading():
    found = passages(f"# Top\n```sh\n# a comment in a script\n```\n{LONG}\n")
    assert [passage.heading for passage in found] == ["Top"]


def test_short_paragraphs_are_joined():
    found = passages(f"# Top\n{LONG}\n\n{LONG}\n")
    assert len(found) == 1


def test_long_sections_are_split_between_paragraphs():
    found = passages("# Top\n" + f"{LONG * 5}\n\n" * 3)
    assert len(found) == 3


def test_long_tables_are_split_between_rows():
    found = passages("# Top\n| a | b |\n| --- | --- |\n" + f"| {LONG} | x |\n" * 20)
    assert all(len(passage.text) <= 800 for passage in found)


def test_scraps_are_left_out():
    assert passages("# Top\nToo short.\n") == []


def test_a_page_without_headings_is_named_after_its_file():
    assert passages(LONG)[0].heading == "page.md"


def test_a_class_is_one_passage_with_its_public_methods():
    methods = '    def open(self):\n        """Open it."""\n    def _hide(self):\n        """Not shown."""\n'
    text = f'class Box:\n    """{DOCSTRING}"""\n{methods}'
    found = list(from_python("box", text))
    assert [passage.source for passage in found] == ["box.Box"]
    assert "open: Open it." in found[0].text
    assert "Not shown" not in found[0].text


def test_small_docstrings_are_left_out():
    assert list(from_python("box", '"""Tiny."""\n')) == []


def test_the_same_text_is_collected_once(tmp_path):
    (tmp_path / "README.md").write_text(f"# Top\n{LONG}\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "copy.md").write_text(f"# Top\n{LONG}\n")
    assert len([passage for passage in collect(tmp_path) if passage.heading == "Top"]) == 1


def test_the_packages_are_read_wherever_the_demo_is_started(tmp_path):
    assert any(passage.source.startswith("tmws_shared") for passage in collect(tmp_path))
