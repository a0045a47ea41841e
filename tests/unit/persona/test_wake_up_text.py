"""The wake-up pack as text, cut to size."""

from datetime import UTC, datetime

from tmws_contracts.persona_wake_up import (
    Board,
    Duty,
    DutyName,
    Entry,
    EntryKind,
    Identity,
    Lookup,
    Missing,
    Reason,
    Section,
    WakeUp,
)
from tmws_persona.wake_up_text import fit, identity_within, line_of, sections_of

AT = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def entry(said: str = "Something", kind: EntryKind = EntryKind.TASK) -> Entry:
    return Entry(kind=kind, id="7", said=said, source="ada", at=AT, facts={"overdue": True, "n": 0}, path=None)


def section(name: str, count: int = 0, said: str = "Something") -> Section:
    return Section(name=name, title=name.title(), items=[entry(said)] * count, more=0, is_more_at_least=False)


def identity(instructions: str | None = "Be good.", capabilities: tuple[str, ...] = ("x",)) -> Identity:
    return Identity(
        id="ada", name="Ada", description="Counts.", capabilities=list(capabilities), instructions=instructions,
        is_cut=False, version=1,
    )  # fmt: skip


def pack(memories: Section | None = None, ready: Section | None = None, who: Identity | None = None) -> WakeUp:
    names = ("in_progress", "overdue", "ready", "blocked")
    board = Board(**{name: ready if ready and name == "ready" else section(name) for name in names})
    duty = Duty(
        name=DutyName.AUDIT, title="The audit log", sections=[section("held")], look_up=[Lookup(path="/x", shows="y")]
    )
    return WakeUp(
        persona=who or identity(), speaks_for=True, memories=memories, board=board, approvals=None, duties=[duty],
        missing=[Missing(part="approvals", reason=Reason.FORBIDDEN, detail="No scope.")], made_at=AT, text="",
    )  # fmt: skip


def test_line_begins_with_what_it_is_and_whom_it_comes_from() -> None:
    assert line_of(entry()) == "- [task 7; overdue: yes; n: 0; from ada, 2030-01-02 03:04] Something"


def test_text_has_every_part() -> None:
    text = fit(pack(section("memories", 1)), 8_000).text
    for part in ("# You are Ada", "Counts.", "Be good.", "## Memories", "Ready: nothing.", "Held: nothing."):
        assert part in text
    assert "- GET /x -- y" in text
    assert "- approvals: No scope." in text


def test_pack_that_fits_is_not_cut() -> None:
    whole = pack(section("memories", 3))
    fitted = fit(whole, 8_000)
    assert fitted.model_copy(update={"text": ""}) == whole


def test_longest_list_is_cut_first_and_says_how_many_more() -> None:
    fitted = fit(pack(section("memories", 30, "m" * 300), section("ready", 3, "r" * 50)), 4_000)
    assert fitted.memories is not None
    assert fitted.board is not None
    assert len(fitted.text) <= 4_000
    assert len(fitted.memories.items) + fitted.memories.more == 30
    assert f"({fitted.memories.more} more)" in fitted.text
    assert len(fitted.board.ready.items) == 3


def test_text_shows_just_the_entries_of_the_lists() -> None:
    fitted = fit(pack(section("memories", 30, "m" * 300)), 3_000)
    shown = sum(len(each.items) for each in sections_of(fitted))
    assert fitted.text.count("- [task 7") == shown > 0


def test_text_is_never_longer_whatever_there_is() -> None:
    who = identity_within(identity("i" * 32_768, tuple("c" * 100 for _ in range(100))), 1_500)
    fitted = fit(pack(section("memories", 50, "m" * 400), section("ready", 50, "r" * 160), who), 1_500)
    assert len(fitted.text) <= 1_500
    assert "# You are Ada" in fitted.text


def test_identity_takes_half_at_most_and_says_that_it_was_cut() -> None:
    cut = identity_within(identity("i" * 32_768), 8_000)
    assert len(cut.instructions or "") < 4_000
    assert cut.is_cut
    assert "GET /api/v1/personas/ada" in fit(pack(who=cut), 8_000).text


def test_identity_that_fits_stays_as_it_is() -> None:
    assert identity_within(identity(), 8_000) == identity()
    assert identity_within(identity(None), 8_000) == identity(None)


def test_list_that_may_go_on_says_so() -> None:
    open_ended = section("ready", 1).model_copy(update={"is_more_at_least": True})
    none_seen = section("memories").model_copy(update={"is_more_at_least": True})
    text = fit(pack(none_seen, open_ended), 8_000).text
    assert "(there may be more)" in text
    assert "Memories: nothing among those looked at." in text


def test_times_are_shown_to_the_minute() -> None:
    late = entry().model_copy(update={"facts": {"due_at": "2030-01-02T03:04:05.678901Z"}})
    assert "due_at: 2030-01-02 03:04;" in line_of(late)
