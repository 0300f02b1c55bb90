"""Files and functions stay readable, and say what they are."""

import ast

from tests.meta.sources import PACKAGES, functions_of, name_of, parse, python_files

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
NAMELESS_STEMS = {"common", "data", "helper", "helpers", "info", "misc", "util", "utils"}
VAGUE_PREFIXES = ("do_", "get_", "handle_", "helper_", "manage_", "process_")
VAGUE_SUFFIXES = ("Helper", "Helpers", "Info", "Manager", "Processor", "Util", "Utils")
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
EVERYTHING = (*PACKAGES, "tests", "scripts")


def test_no_file_is_longer_than_the_limit() -> None:
    long = {name_of(path): len(path.read_text().splitlines()) for path in python_files(*EVERYTHING)}
    assert {name: lines for name, lines in long.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_the_limit() -> None:
    long: dict[str, int] = {}
    for path in python_files(*EVERYTHING):
        for function in functions_of(parse(path)):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                long[f"{name_of(path)}:{function.lineno} {function.name}"] = lines
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(path)
        for path in python_files(*EVERYTHING)
        if (tree := parse(path)).body and not has_docstring(path.stem, tree)
    ]
    assert silent == []


def has_docstring(stem: str, tree: ast.Module) -> bool:
    """A package marker may be silent when it holds nothing else."""
    return ast.get_docstring(tree) is not None or (stem == "__init__" and not tree.body)


def test_no_name_is_vague() -> None:
    vague: list[str] = []
    for path in python_files(*PACKAGES):
        if path.stem in NAMELESS_STEMS:
            vague.append(name_of(path))
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef) and node.name.endswith(VAGUE_SUFFIXES):
                vague.append(f"{name_of(path)}:{node.lineno} {node.name}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(VAGUE_PREFIXES):
                vague.append(f"{name_of(path)}:{node.lineno} {node.name}")
    assert vague == []


def test_no_line_is_left_for_later() -> None:
    left = [
        f"{name_of(path)}:{number}"
        for path in python_files(*EVERYTHING)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(f"# {word}" in line for word in UNFINISHED)
    ]
    assert left == []
