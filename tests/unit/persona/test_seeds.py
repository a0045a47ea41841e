"""The built-in personas."""

from tmws_contracts.persona_wake_up import DutyName
from tmws_persona.duties.register import duties_of
from tmws_persona.seeds import built_in_personas


def test_instructions_leave_room_in_the_wake_up_pack() -> None:
    lengths = {persona.id: len(persona.instructions or "") for persona in built_in_personas()}
    assert {name: length for name, length in lengths.items() if not 1_000 <= length <= 2_000} == {}


def test_every_duty_is_somebodys() -> None:
    found = [duty for persona in built_in_personas() for duty in duties_of(persona.configuration)]
    assert sorted(found) == sorted(DutyName)


def test_configuration_that_was_written_otherwise_has_the_duties_that_are_some() -> None:
    assert duties_of({}) == []
    assert duties_of({"duties": "team"}) == []
    assert duties_of({"duties": ["team", "gardening", {"x": 1}, 3]}) == [DutyName.TEAM]
