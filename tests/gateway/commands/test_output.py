"""How results and failures are shown."""

import io

import pytest
from rich.console import Console

from gateway.commands.output import moment, plain, print_json, print_rich, table
from gateway.config import Problem


def test_text_from_elsewhere_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_rich(plain("\x1b[2J[bold]agent[/bold]\r\n"))
    assert capsys.readouterr().out == "\ufffd[2J[bold]agent[/bold]\ufffd\ufffd\n"


def test_column_that_begins_with_an_arrow_is_aligned_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table("T", "name", ">n")
    rows.add_row("a", "7")
    rows.add_row("bcdefg", "123")
    print_rich(rows)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "T",
        "name      n",
        "a         7",
        "bcdefg  123",
    ]


def test_first_column_is_never_shortened() -> None:
    rows = table("T", "id", "text")
    rows.add_row("fuse_7737297c066d", "long " * 20)
    narrow = Console(width=30, file=io.StringIO(), record=True)
    narrow.print(rows)
    assert "fuse_7737297c066d" in narrow.export_text()


def test_structures_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"problems": [Problem("a:1:1", "wrong", "mend")]})
    assert '"place": "a:1:1"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("unix_ms", "shown"),
    [(None, "-"), (0, "1970-01-01 00:00:00Z"), (1_767_225_600_000, "2026-01-01 00:00:00Z"), (10**30, "-")],
)
def test_moment_is_utc(unix_ms: int | None, shown: str) -> None:
    assert moment(unix_ms) == shown
