"""The tree is what ARCHITECTURE.md says, and tests mirror it both ways."""

import ast
from pathlib import Path

from tests.meta.sources import PACKAGES, ROOT, name_of, parse, python_files

PLACES = (
    "pyproject.toml README.md ARCHITECTURE.md THREAT_MODEL.md LICENSE requirements.lock requirements-dev.lock "
    ".ci/run scripts/demo scripts/test scripts/check scripts/bench "
    "gateway/__main__.py gateway/app.py gateway/pipeline.py gateway/ports.py gateway/context.py gateway/config "
    "gateway/contract.py gateway/errors.py gateway/tasks.py gateway/core gateway/web gateway/upstreams gateway/policy "
    "gateway/identity gateway/stores gateway/telemetry policies/lib policies/rules policies/schema/input.json "
    "policies/data runtime tests/golden tests/fuzz tests/e2e tests/bench tests/meta tests/support"
).split()

UNTESTED = {
    "gateway/context.py": "data only",
    "gateway/errors.py": "data only",
    "gateway/ports.py": "protocols only",
    "gateway/core/usage.py": "data only",
    "gateway/config/model.py": "data only",
}
"""Sources without a test file of their own, and why. Grows only by a reason."""


def has_code(path: Path) -> bool:
    """False for an `__init__.py` that holds at most a docstring."""
    return path.name != "__init__.py" or len(parse(path).body) > 1


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(test: Path) -> set[str]:
    """Every module a test file imports, and every `module.name`."""
    found: set[str] = set()
    for node in ast.walk(parse(test)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def mirror(source: Path) -> Path:
    """The folder of tests for a source's folder."""
    return ROOT / "tests" / source.relative_to(ROOT).parent


def test_every_named_place_exists() -> None:
    missing = [place for place in PLACES if not (ROOT / place).exists()]
    assert missing == []


def test_every_source_has_a_test_in_the_mirrored_folder() -> None:
    missing: list[str] = []
    for source in python_files(*PACKAGES):
        tests = [test for test in mirror(source).glob("test_*.py") if module_name(source) in imported_names(test)]
        if has_code(source) and not tests and name_of(source) not in UNTESTED:
            missing.append(name_of(source))
    assert missing == []


def test_every_test_imports_a_source_of_the_mirrored_folder() -> None:
    orphans: list[str] = []
    for test in python_files("tests/gateway", "tests/runtime"):
        folder = ROOT / test.relative_to(ROOT / "tests").parent
        sources = {module_name(source) for source in folder.glob("*.py")}
        if test.name.startswith("test_") and not sources & imported_names(test):
            orphans.append(name_of(test))
    assert orphans == []


def test_no_exemption_outlives_its_file() -> None:
    stale = [name for name in UNTESTED if not (ROOT / name).exists()]
    assert stale == []
