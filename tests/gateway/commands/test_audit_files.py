"""Audit files line by line, with their rotated files, while somebody writes."""

import json
import os
from pathlib import Path

import pytest

from gateway.commands.audit_files import audit_lines, audit_paths
from gateway.commands.output import CommandFailed
from gateway.config import Config, parse_config


def configured(audit: str) -> Config:
    document = {"upstreams": [{"id": "main", "backend": "simulated"}], "audit": {"path": audit}}
    return parse_config(json.dumps(document), Path("ringfence.yaml"), {})


def texts(path: Path) -> list[str]:
    return [line.decode().strip() for _, line in audit_lines([path])]


def test_rotated_files_are_read_newest_first_whatever_their_number(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in ("", ".1", ".2", ".10"):
        Path(f"{path}{number}").write_text(f"of{number}\n")
    for other in (".gz", ".old", ".", "x.3"):
        Path(f"{path}{other}").write_text("something else\n")
    assert texts(path) == ["of", "of.1", "of.2", "of.10"]


def test_rotation_while_reading_neither_hides_nor_repeats_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("3\n4\n")
    Path(f"{path}.1").write_text("2\n")
    reading = audit_lines([path])
    first = next(reading)[1]
    os.replace(f"{path}.1", f"{path}.2")
    os.replace(path, f"{path}.1")
    path.write_text("5\n")
    assert [line.strip() for line in (first, *(line for _, line in reading))] == [b"3", b"4", b"2"]


def test_place_names_file_and_line_and_blank_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("a\n\n \nb")
    assert list(audit_lines([path])) == [(f"{path}:1", b"a\n"), (f"{path}:4", b"b")]


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CommandFailed, match="there is no such audit trail; name the file with --audit"):
        texts(tmp_path / "none.jsonl")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CommandFailed, match="no file that can be read back"):
            texts(path)


def test_named_files_count_instead_of_the_configured_one(tmp_path: Path) -> None:
    named = tmp_path / "kept.jsonl"
    assert audit_paths(configured(str(tmp_path / "audit.jsonl")), []) == (tmp_path / "audit.jsonl",)
    assert audit_paths(configured("stdout"), [named]) == (named,)


def test_trail_on_stdout_is_told() -> None:
    with pytest.raises(CommandFailed, match=r"audit\.path is stdout.*name the file.*--audit"):
        audit_paths(configured("stdout"), [])
