"""The tree is what ARCHITECTURE.md says, and tests mirror it both ways."""

import ast
from functools import cache
from pathlib import Path

from tests.meta.sources import PACKAGES, ROOT, name_of, parse, python_files

PLACES = (
    "pyproject.toml README.md ARCHITECTURE.md THREAT_MODEL.md LICENSE requirements.lock requirements-dev.lock "
    ".ci/run scripts/demo scripts/test scripts/check scripts/bench "
    "gateway/__main__.py gateway/app.py gateway/pipeline.py gateway/forwarding.py gateway/switchboard.py "
    "gateway/slots.py gateway/ports.py gateway/context.py gateway/config "
    "gateway/contract.py gateway/errors.py gateway/tasks.py gateway/core gateway/web gateway/upstreams gateway/policy "
    "gateway/identity gateway/stores gateway/telemetry policies/lib policies/rules policies/schema/input.json "
    "policies/data dashboards helm/ringfence Containerfile "
    "runtime tests/golden tests/fuzz tests/e2e tests/bench tests/meta tests/support"
).split()

UNTESTED = {
    "gateway/context.py": "data only",
    "gateway/errors.py": "data only",
    "gateway/ports.py": "protocols only",
    "gateway/core/routes/places.py": "data only",
    "gateway/core/wire/usage.py": "data only",
    "gateway/config/model.py": "data only",
}
"""Sources without a test file of their own, and why. Grows only by a reason."""


def has_code(path: Path) -> bool:
    """False for an `__init__.py` that holds at most a docstring."""
    return path.name != "__init__.py" or len(parse(path).body) > 1


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported_names(path: Path) -> set[str]:
    """Every module a file imports, and every `module.name`."""
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def names_of(source: Path) -> set[str]:
    """What a test may import to test a source: the module, and its package when that re-exports it."""
    package = source.parent / "__init__.py"
    names = {module_name(source)}
    return names | {module_name(package)} if names & imported_names(package) else names


def mirrors(source: Path) -> list[Path]:
    """The tests that may be a source's: those of the mirrored folder, and for a package those beside it."""
    folder = ROOT / "tests" / source.relative_to(ROOT).parent
    beside = list(folder.parent.glob(f"test_{folder.name}*.py")) if source.parent.parent != ROOT else []
    return [*folder.glob("test_*.py"), *beside]


def is_test_of(test: Path, source: Path) -> bool:
    """By its name, or by what it imports."""
    named = test.stem.removeprefix("test_").startswith(source.stem.strip("_"))
    return named or bool(names_of(source) & imported_names(test))


def test_every_named_place_exists() -> None:
    missing = [place for place in PLACES if not (ROOT / place).exists()]
    assert missing == []


def test_every_source_has_a_test_in_the_mirrored_folder() -> None:
    missing: list[str] = []
    for source in python_files(*PACKAGES):
        covered = any(is_test_of(test, source) for test in mirrors(source))
        if has_code(source) and not covered and name_of(source) not in UNTESTED:
            missing.append(name_of(source))
    assert missing == []


def test_every_test_has_a_source_in_the_mirrored_folder() -> None:
    sources = python_files(*PACKAGES)
    covered = {test for source in sources for test in mirrors(source) if is_test_of(test, source)}
    tests = [test for test in python_files("tests/gateway", "tests/runtime") if test.name.startswith("test_")]
    assert [name_of(test) for test in tests if test not in covered] == []


def test_no_exemption_outlives_its_file() -> None:
    stale = [name for name in UNTESTED if not (ROOT / name).exists()]
    assert stale == []
