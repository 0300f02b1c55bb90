"""The page of the runtime's requirements and the tests that carry their numbers, as a meta test reads them. No rule."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from tests.meta.sources import ROOT, functions_of, name_of, parse, python_files

PAGE = ROOT / "docs" / "workflow-requirements.md"
NUMBERS = range(1, 194)
LATER = range(164, 170)
"""Saved workflows, built after the rest."""
NAMED_MAX = 2
_ROW = re.compile(r"^\| W(\d+) \| (.+?) \| (done|partly|later|not ours)(.*?) \| (.*?) ?\|$", re.M)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_NUMBERS = re.compile(r"(?<=_)w(\d+)(?=_)")
PREFERRED = ("tests/gateway/test_pipeline", "tests/runtime/test_crashes", "tests/runtime/test_", "tests/runtime/core")


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement on the page."""

    number: int
    state: str
    note: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """In the order of the page."""
    found = _ROW.findall(PAGE.read_text())
    return [
        Row(int(number), state, note.strip(" :,"), tuple("::".join(test) for test in _TEST.findall(tests)))
        for number, _, state, note, tests in found
    ]


def numbers_of(test: str) -> list[int]:
    """Those that a test's name carries: `test_w80_w128_...`."""
    return [int(number) for number in _NUMBERS.findall(test)] if re.match(r"test_w\d", test) else []


@cache
def numbered_tests() -> dict[int, list[str]]:
    """Every test that carries a number, as `path::name`."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in python_files("tests"):
        if not path.name.startswith("test_"):
            continue
        for function in functions_of(parse(path)):
            for number in numbers_of(function.name):
                found[number].append(f"{name_of(path)}::{function.name}")
    return dict(found)


def proposed(tests: list[str]) -> str:
    """What the page could name: of different files, those first that see the most of the product."""
    chosen: dict[str, str] = {}
    for test in sorted(tests, key=lambda test: (_rank(test), test)):
        chosen.setdefault(test.partition("::")[0], test)
    return ", ".join(f"`{test}`" for test in list(chosen.values())[:NAMED_MAX])


def _rank(test: str) -> int:
    return next((rank for rank, start in enumerate(PREFERRED) if test.startswith(start)), len(PREFERRED))
