"""The repository's own files as the meta tests read them. No rule stands here."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "runtime")


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders, golden data left out."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if "golden" not in path.parts and "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    """The path as people write it."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def documentation() -> str:
    """Everything written for people: the pages at the top, and docs/."""
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "THREAT_MODEL.md", *(ROOT / "docs").glob("*.md")]
    return "\n".join(page.read_text() for page in pages if page.exists())
