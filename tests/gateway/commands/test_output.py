"""How results and failures are shown."""

import contextlib
import io
import json
import sys

import pytest
from rich.console import Console

from gateway.commands.output import (
    json_writer,
    moment,
    plain,
    print_json,
    print_json_line,
    print_rich,
    table,
    tolerate_narrow_encodings,
)
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


def test_json_of_models_and_scripts_does_not_steer_the_terminal(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    odd = {"label": "a\x7f\x9b2J\u202e\U000e0041\x1b]0;b\x07 \u00fc"}
    print_json(odd)
    out = capfdbinary.readouterr().out
    assert json.loads(out) == odd
    assert out == b'{\n  "label": "a\\u007f\\u009b2J\\u202e\\udb40\\udc41\\u001b]0;b\\u0007 \xc3\xbc"\n}\n'


def test_json_that_comes_in_pieces_is_as_harmless_wherever_it_is_cut(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    content = '{"a":\r "\x9b31m \u00fc"}'.encode()
    write = json_writer()
    for at in range(len(content)):
        write(content[at : at + 1])
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == b'{"a":  "\\u009b31m \xc3\xbc"}'


def test_stdout_that_cannot_write_every_character_shows_the_rest_and_json_whole() -> None:
    written = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(written, encoding="ascii")) as stdout:
        tolerate_narrow_encodings()
        print_rich(plain("\u6587 scan"))
        print_json_line({"label": "\u6587"})
        stdout.flush()
    shown, line = written.getvalue().splitlines()
    assert shown == b"? scan" and json.loads(line) == {"label": "\u6587"}
