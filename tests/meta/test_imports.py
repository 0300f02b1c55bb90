"""No circular imports, also inside one package, where the layer contracts do not look."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.meta.sources import PACKAGES, ROOT, parse, python_files


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, known: set[str]) -> set[str]:
    """Our modules that a file imports when it is loaded: top-level statements only."""
    found: set[str] = set()
    for node in parse(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known
            # A package whose submodules alone are named need not have finished loading.
            found |= submodules if len(submodules) == len(node.names) else submodules | {node.module}
    return found & known


def test_modules_import_one_another_in_one_direction() -> None:
    paths = {module_name(path): path for path in python_files(*PACKAGES)}
    graph = {name: imported_modules(path, set(paths)) - {name} for name, path in paths.items()}
    cycle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert len(graph) > 20 and cycle == []
