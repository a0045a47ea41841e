"""What the demo prints fits a terminal."""

from tmws_local.demo.screen import WIDTH, Screen


def test_a_row_is_cut_at_the_edge(capsys):
    Screen().row("x" * 200)
    assert len(capsys.readouterr().out.rstrip("\n")) == WIDTH


def test_a_row_is_one_line(capsys):
    Screen().row("one\ntwo")
    assert capsys.readouterr().out == "  one two\n"


def test_a_paragraph_is_wrapped_with_a_hanging_indent(capsys):
    Screen().say("word " * 30, 2, hanging=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.index("w") for line in lines] == [2, 5]


def test_there_is_no_colour_off_a_terminal(capsys):
    Screen().heading("Part")
    assert "\x1b" not in capsys.readouterr().out
