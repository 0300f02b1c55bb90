"""What the searching process answers, asked in this process; as a process of its own: `test_seeking.py`."""

import os
from pathlib import Path
from typing import Any

import pytest

from runtime.tools.seek.main import FILES_MAX, ROWS_DEFAULT, answer
from runtime.tools.seek.patterns import BadPattern

GREP = {
    **{"kind": "grep", "start": [], "glob": None, "type": None, "output_mode": "files_with_matches"},
    **{"after": None, "before": None, "around": None, "context": None, "numbers": True},
    **{"ignore_case": False, "multiline": False, "head_limit": None, "offset": None},
}


def ask(place: Path, **request: Any) -> list[str]:
    root = os.open(place, os.O_RDONLY)
    try:
        return answer(root, request).splitlines()
    finally:
        os.close(root)


def glob(place: Path, pattern: str, *start: str) -> list[str]:
    return ask(place, kind="glob", pattern=pattern, start=start)


def grep(place: Path, pattern: str, **request: Any) -> list[str]:
    return ask(place, **(GREP | {"pattern": pattern} | request))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three files, the later in the alphabet the older."""
    (tmp_path / "src").mkdir()
    for age, (name, content) in enumerate(
        [("a.py", "import os\nx = 1\n"), ("src/b.py", "x = 2\nx = 3\n"), ("src/c.js", "let x\n")]
    ):
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (1_000 - age, 1_000 - age))
    return tmp_path


def test_glob_answers_the_newest_first(place: Path) -> None:
    assert glob(place, "**/*") == ["a.py", "src/b.py", "src/c.js"]
    os.utime(place / "src" / "c.js", (2_000, 2_000))
    assert glob(place, "**/*") == ["src/c.js", "a.py", "src/b.py"]


def test_glob_is_relative_to_where_it_begins(place: Path) -> None:
    assert glob(place, "*.py", "src") == ["src/b.py"]
    assert glob(place, "src/*.py", "src") == ["No files match."]


def test_glob_of_many_files_is_cut_and_says_so(tmp_path: Path) -> None:
    for number in range(FILES_MAX + 5):
        (tmp_path / f"{number}").touch()
    answered = glob(tmp_path, "*")
    assert len(answered) == FILES_MAX + 1
    assert answered[-1] == "(5 more files match: use a narrower pattern)"


def test_grep_answers_files_the_newest_first(place: Path) -> None:
    assert grep(place, "x = ") == ["a.py", "src/b.py"]
    assert grep(place, "nowhere") == ["No matches."]


def test_grep_counts_lines_of_each_file(place: Path) -> None:
    assert grep(place, "x =", output_mode="count") == ["a.py:1", "src/b.py:2"]


def test_grep_shows_lines_with_what_is_around(place: Path) -> None:
    assert grep(place, "x = 1", output_mode="content") == ["a.py:2:x = 1"]
    assert grep(place, "x = 1", output_mode="content", around=1, numbers=False) == ["a.py-import os", "a.py:x = 1"]
    assert grep(place, "import", output_mode="content", after=1, context=0) == ["a.py:1:import os", "a.py-2-x = 1"]


@pytest.mark.parametrize(
    ("request_", "files"),
    [
        ({"glob": "*.js"}, ["src/c.js"]),
        ({"type": "py"}, ["a.py", "src/b.py"]),
        ({"glob": "!*.py"}, ["src/c.js"]),
        ({"glob": "src/*"}, ["src/b.py", "src/c.js"]),
        ({"start": ["src"], "glob": "src/*.py"}, ["src/b.py"]),
        ({"start": ["src"], "glob": "*.py"}, ["src/b.py"]),
        ({"start": ["a.py"]}, ["a.py"]),
    ],
    ids=["glob", "type", "negated", "directory", "from-folder", "from-start", "file"],
)
def test_grep_looks_only_where_it_is_told(place: Path, request_: dict[str, Any], files: list[str]) -> None:
    assert grep(place, "x", **request_) == files


def test_grep_goes_on_at_an_offset(place: Path) -> None:
    first = grep(place, "x =", output_mode="content", head_limit=2)
    assert first == ["a.py:2:x = 1", "src/b.py:1:x = 2", "(there is more: go on with offset 2)"]
    assert grep(place, "x =", output_mode="content", head_limit=2, offset=2) == ["src/b.py:2:x = 3"]


def test_grep_has_a_usual_limit_and_none_for_zero(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n" * 1_000)
    assert len(grep(tmp_path, "x", output_mode="content")) == ROWS_DEFAULT + 1
    assert len(grep(tmp_path, "x", output_mode="content", head_limit=0)) == 1_000


def test_binary_files_are_left_out_and_large_ones_said(place: Path) -> None:
    (place / "binary").write_bytes(b"x = \0")
    with open(place / "huge", "wb") as file:
        file.truncate(1 << 34)
    assert grep(place, "x =") == ["a.py", "src/b.py", "(files that are too large or not ordinary were left out)"]


def test_much_output_is_cut_at_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"{'x' * 400}\n" * 200)
    answered = grep(tmp_path, "x", output_mode="content", head_limit=0)
    assert len("\n".join(answered)) < 31_000
    assert answered[-1].endswith("of 200 lines fit)")


def test_pattern_that_is_none_is_refused(place: Path) -> None:
    with pytest.raises(BadPattern):
        grep(place, "(")
