"""Tests read as the report they are: named by condition and outcome, without mocks, patches or sleeps."""

import ast
from pathlib import Path

from tests.meta.sources import functions_of, name_of, parse, python_files

BANNED_IMPORTS = {"unittest.mock", "mock", "pytest_mock"}
SLEEPING_PLACES = ("tests/bench/systems.py", "tests/support/postgres.py")
"""They wait for another process, which cannot tell them when."""


def suite_files() -> list[Path]:
    return [path for path in python_files("tests") if path.name.startswith("test_")]


def test_every_test_is_named_by_condition_and_outcome() -> None:
    short = [
        f"{name_of(path)} {function.name}"
        for path in suite_files()
        for function in functions_of(parse(path))
        if function.name.startswith("test_") and len(function.name.split("_")) < 3
    ]
    assert short == []


def test_no_two_tests_of_a_file_share_a_name() -> None:
    shared: list[str] = []
    for path in suite_files():
        names = [node.name for node in parse(path).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        shared += [f"{name_of(path)} {name}" for name in sorted(set(names)) if names.count(name) > 1]
    assert shared == []


def test_no_test_imports_a_mock() -> None:
    found: list[str] = []
    for path in python_files("tests"):
        for node in ast.walk(parse(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [f"{name_of(path)} {name}" for name in names if name in BANNED_IMPORTS]
    assert found == []


def test_no_test_patches_or_sleeps() -> None:
    found: list[str] = []
    for path in python_files("tests"):
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            patches = called in ("monkeypatch.setattr", "mocker.patch")
            sleeps = called in ("time.sleep", "asyncio.sleep") and ast.unparse(node.args[0]) != "0"
            if patches or (sleeps and name_of(path) not in SLEEPING_PLACES):
                found.append(f"{name_of(path)}:{node.lineno} {called}")
    assert found == []
