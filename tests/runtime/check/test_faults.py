"""Places are lines and characters, counted from 1."""

from runtime.check.faults import EXCERPT_CHARS_MAX, CheckError, excerpt, fault_at, fault_in
from runtime.check.syntax import Script, parse_script


def test_fault_reads_as_place_code_and_message() -> None:
    assert str(CheckError("a_code", "what.", 3, 7)) == "3:7 a_code: what."


def test_place_of_a_node_is_told_in_characters() -> None:
    script = parse_script("\n'é😀'; x")
    assert isinstance(script, Script)
    fault = fault_at(script.source, script.root.named_children[-1], "c", "m")
    assert (fault.line, fault.column) == (2, 7)


def test_place_of_a_character_is_told_in_characters() -> None:
    fault = fault_in("é\né😀x", 4, "c", "m")
    assert (fault.line, fault.column) == (2, 3)


def test_excerpt_of_a_long_line_is_what_stands_around_the_place() -> None:
    line = "a" * 500 + "HERE" + "b" * 500
    assert "HERE" in excerpt(line, 501) and len(excerpt(line, 501)) == EXCERPT_CHARS_MAX
