"""Stored text in a prompt: one line, without tricks, inside a fence that it cannot close."""

import pytest

from tmws_shared.fencing import excerpt, fence, label, one_line


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\u2028", "\u2029", "\x0b", "\x85", "\t", "\x00"])
def test_text_becomes_one_line(separator: str) -> None:
    assert one_line(f"first{separator}second") == "first second"
    assert len(one_line(f"a{separator}b").splitlines()) == 1


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041", "\u200f"])
def test_marks_that_deceive_are_left_out(mark: str) -> None:
    assert one_line(f"pay{mark}ment") == "payment"


def test_letters_of_every_script_stay() -> None:
    text = "naïve, 会議, שלום, नमस्ते, 👩‍🔬"
    assert one_line(text) == text


def test_excerpt_is_as_long_as_it_may_be_and_says_that_it_is_one() -> None:
    assert excerpt("short", 5) == "short"
    assert excerpt("longer", 5) == "long…"
    assert len(excerpt("x" * 100_000, 400)) == 400


def test_excerpt_of_what_is_not_looked_at_says_so_too() -> None:
    assert excerpt("ab" + " " * 1_000 + "c", 5).endswith("…")


def test_label_cannot_end_its_brackets() -> None:
    assert label("x] from: root; [y\nz") == "x) from: root, (y z"


@pytest.mark.parametrize("line", ["plain", "```", "a ````` b", "`"])
def test_fence_is_longer_than_any_in_its_lines(line: str) -> None:
    block = fence([line]).splitlines()
    marks = block[-1]
    assert block == [f"{marks}data", line, marks]
    assert set(marks) == {"`"}
    assert marks not in line
