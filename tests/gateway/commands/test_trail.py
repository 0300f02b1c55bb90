"""A trail read back, with its rotated files and what a crash left in it."""

import os
from pathlib import Path

import pytest

from gateway.commands.output import CommandFailed
from gateway.commands.trail import PLACES_NAMED, Trail
from tests.gateway.core.money.test_showback import line


def write(path: Path, *costs: int) -> None:
    path.write_bytes(b"".join(line(cost_nanousd=cost, at_ms=cost) + b"\n" for cost in costs))


def costs(trail: Trail) -> list[int]:
    return [each.cost_nanousd for each in trail.requests()]


def test_rotated_files_are_read_whatever_their_number(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 9)
    for number in (1, 2, 10):
        write(tmp_path / f"audit.jsonl.{number}", number)
    for other in ("audit.jsonl.gz", "audit.jsonl.old", "audit.jsonlx.3", "audit.jsonl."):
        (tmp_path / other).write_text("something else\n")
    trail = Trail([path])
    assert costs(trail) == [9, 1, 2, 10]
    assert (trail.unreadable, trail.oldest_ms) == (0, 1)


def test_rotation_while_reading_neither_hides_nor_repeats_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 3, 4)
    write(tmp_path / "audit.jsonl.1", 2)
    write(tmp_path / "audit.jsonl.2", 1)
    reading = Trail([path]).requests()
    first = next(reading)
    for number in (2, 1):
        os.replace(tmp_path / f"audit.jsonl.{number}", tmp_path / f"audit.jsonl.{number + 1}")
    os.replace(path, tmp_path / "audit.jsonl.1")
    write(path, 5)
    assert [each.cost_nanousd for each in (first, *reading)] == [3, 4, 2, 1]


def test_torn_and_foreign_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(line(cost_nanousd=1)[:40] + b"\n\n" + line(cost_nanousd=2) + b"\n" + b"junk\n" * 7 + line()[:9])
    trail = Trail([path])
    assert costs(trail) == [2]
    assert trail.unreadable == 9
    assert trail.places == [f"{path}:{number}" for number in (1, 4, 5, 6, 7)] and len(trail.places) == PLACES_NAMED


def test_trail_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="there is no such audit trail; name the file with --audit"):
        costs(Trail([tmp_path / "none.jsonl"]))
    with pytest.raises(CommandFailed, match="no such audit trail"):
        costs(Trail([tmp_path / "no" / "folder.jsonl"]))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CommandFailed, match="no file that can be read back"):
            costs(Trail([path]))
