"""Globs and lines of a .gitignore, each with what it takes and what it leaves."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tools.seek.patterns import (
    BadPattern,
    compile_glob,
    extensions_of,
    is_ignored,
    parse_ignores,
    split_globs,
)

GLOBS = {
    "*.py": (["a.py", "src/a.py", "a/b/c.py"], ["a.pyc", "apy"]),
    "src/*.py": (["src/a.py"], ["a.py", "src/b/a.py", "x/src/a.py"]),
    "src/**/*.py": (["src/a.py", "src/b/c/a.py"], ["a.py", "xsrc/a.py"]),
    "**/*.py": (["a.py", "src/a.py"], ["a.js"]),
    "**": (["a", "a/b/c"], []),
    "src/**": (["src/a", "src/b/c"], ["a", "srcs/a"]),
    "**/test/**": (["test/a", "x/test/a/b"], ["test", "tests/a"]),
    "/a.py": (["a.py"], ["b/a.py"]),
    "./a.py": (["a.py", "b/a.py"], ["a_py"]),
    "*.{js,ts}": (["a.js", "b/a.ts"], ["a.jsx", "a.{js,ts}"]),
    "{src,lib}/**/*.{c,h}": (["src/a.c", "lib/x/a.h"], ["doc/a.c"]),
    "a,b": (["a,b"], ["a", "b"]),
    "?.txt": (["a.txt"], ["ab.txt", ".txt"]),
    "[a-c].txt": (["b.txt"], ["d.txt"]),
    "[!a-c].txt": (["d.txt"], ["b.txt"]),
    "[^/].txt": (["d.txt"], []),
    "[a--b]": (["a", "b"], ["c"]),
    "[[&&]": (["[", "&"], ["a"]),
    "[]]": (["]"], ["["]),
    "[": (["["], ["a"]),
    r"\*.py": (["*.py"], ["a.py"]),
    "a+b(c)": (["a+b(c)"], ["aab(c)"]),
    ".*": ([".env", "a/.env"], ["env"]),
    "naïve*": (["naïve.txt"], ["naive.txt"]),
}


@pytest.mark.parametrize("pattern", GLOBS)
def test_glob_takes_and_leaves_as_listed(pattern: str) -> None:
    taken, left = GLOBS[pattern]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regex = compile_glob(pattern)
    assert [path for path in [*taken, *left] if regex.fullmatch(path)] == taken


@pytest.mark.parametrize("pattern", ["{a,b", "a}", "[z-a]", "../*", "a/../../b"])
def test_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_glob(pattern)


@given(st.text(max_size=12))
def test_any_text_is_a_pattern_or_refused(pattern: str) -> None:
    try:
        compile_glob(pattern).fullmatch("src/main.py")
    except BadPattern:
        pass


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ("*.py", ["a.py"]),
        ("*.py, *.js", ["a.py", "b.js"]),
        ("*.py *.js", ["a.py", "b.js"]),
        ("*.{py,js}", ["a.py", "b.js"]),
        ("!*.py", ["b.js", "c.md"]),
    ],
    ids=["one", "commas", "blanks", "braces", "negated"],
)
def test_several_globs_are_told_apart(patterns: str, taken: list[str]) -> None:
    wanted, unwanted = split_globs(patterns)
    names = ["a.py", "b.js", "c.md"]
    left = [name for name in names if not any(regex.fullmatch(name) for regex in unwanted)]
    assert [name for name in left if not wanted or any(regex.fullmatch(name) for regex in wanted)] == taken


IGNORES = {
    "build": (["build/", "x/build/", "build"], ["builds"]),
    "build/": (["build/", "x/build/"], ["build"]),
    "/build": (["build", "build/"], ["x/build"]),
    "doc/*.txt": (["doc/a.txt"], ["doc/x/a.txt", "x/doc/a.txt"]),
    "**/logs": (["logs", "a/b/logs"], ["log"]),
    "a/**/b": (["a/b", "a/x/y/b"], ["b"]),
    "*.log\n!keep.log": (["a.log"], ["keep.log"]),
    "# note\n\n*.log  ": (["a.log"], ["# note"]),
    r"\#note": (["#note"], ["note"]),
    r"\!a": (["!a"], ["a"]),
    "{a,b}": (["{a,b}"], ["a"]),
    "/": ([], ["a"]),
}


@pytest.mark.parametrize("lines", IGNORES)
def test_ignore_lines_take_and_leave_as_listed(lines: str) -> None:
    rules = parse_ignores(lines, "")
    taken, left = IGNORES[lines]
    ignored = [path for path in [*taken, *left] if is_ignored(rules, path.rstrip("/"), is_directory=path[-1] == "/")]
    assert ignored == taken


def test_ignore_lines_of_a_directory_hold_beneath_it_only() -> None:
    rules = parse_ignores("/a", "sub/")
    assert is_ignored(rules, "sub/a", is_directory=False)
    assert not is_ignored(rules, "a", is_directory=False)


def test_unknown_type_is_refused_with_the_known_ones() -> None:
    assert extensions_of("ts") == (".ts", ".tsx", ".mts", ".cts")
    with pytest.raises(BadPattern, match="rust"):
        extensions_of("cobol")
