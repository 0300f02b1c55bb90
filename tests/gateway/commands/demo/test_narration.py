"""What is told stands on lines of its own, cut when long, and steers no terminal."""

import io

from rich.console import Console

from gateway.commands.demo.narration import TEXT_CHARS_MAX, Check, Narrator, describe_call


def told(tell_width: int = 140, *, terminal: bool = False) -> tuple[Narrator, io.StringIO]:
    written = io.StringIO()
    return Narrator(Console(file=written, width=tell_width, force_terminal=terminal, color_system=None)), written


def test_without_a_terminal_a_step_is_one_line_however_long() -> None:
    narrator, written = told(40)
    narrator.tell("main", "word " * 50, "bold")
    assert written.getvalue() == f"{'main':<15} {('word ' * 50).strip()}\n"


def test_on_a_terminal_long_steps_are_wrapped_beside_who_said_them() -> None:
    narrator, written = told(40, terminal=True)
    narrator.tell("main", "word " * 20)
    lines = written.getvalue().splitlines()
    assert len(lines) > 3 and all(line.startswith(" " * 16) for line in lines[1:])


def test_endless_text_is_cut() -> None:
    narrator, written = told()
    narrator.tell("main", "x" * 10_000)
    assert len(written.getvalue()) < TEXT_CHARS_MAX + 40 and written.getvalue().endswith(" ...\n")


def test_text_of_an_agent_is_neither_markup_nor_a_control_sequence() -> None:
    narrator, written = told()
    narrator.tell("main", "[bold]a[/bold] \x1b[2Jb")
    assert "[bold]a[/bold]" in written.getvalue() and "\x1b" not in written.getvalue()


def test_denied_call_shows_what_was_asked_and_why_not() -> None:
    narrator, written = told()
    stand_in = {
        "tool": "Bash",
        "input": {"command": "rm -rf /"},
        "reason": "shell/destructive: no",
        "decision": "dec_1",
    }
    narrator.call("main", "ringfence_denied", stand_in)
    assert "DENIED   Bash: rm -rf /" in written.getvalue() and "shell/destructive: no" in written.getvalue()


def test_allowed_call_shows_its_subject() -> None:
    assert describe_call("Read", {"file_path": "/a"}) == "Read: /a" and describe_call("Odd", ["x"]) == "Odd"


def test_broken_promise_stands_out() -> None:
    narrator, written = told()
    narrator.check(Check("it holds", False, "it did not"))
    assert written.getvalue().startswith("BROKEN") and "it holds: it did not" in written.getvalue()
