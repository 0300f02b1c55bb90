"""The scripts can be run, and the locks hold what the project says it needs."""

import json
import os
import re
import subprocess
import tomllib

from tests.meta.sources import ROOT

SCRIPTS = sorted(each for each in (ROOT / "scripts").iterdir() if not each.suffix)
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pinned(lock: str) -> dict[str, str]:
    """Package to version."""
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^ ;\\]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_every_script_is_executable_and_parses() -> None:
    assert len(SCRIPTS) > 5 and all(os.access(script, os.X_OK) for script in SCRIPTS)
    for script in [*SCRIPTS, ROOT / "scripts" / "lib.sh"]:
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for lock, needed in zip(
        LOCKS, (project["project"]["dependencies"], project["dependency-groups"]["dev"]), strict=True
    ):
        names = {re.split(r"[\[<>=~!; ]", requirement)[0].lower() for requirement in needed}
        assert names - set(pinned(lock)) == set()


def test_runtime_lock_is_part_of_the_dev_lock() -> None:
    assert pinned("requirements.lock").items() <= pinned("requirements-dev.lock").items()


def test_every_locked_package_has_hashes() -> None:
    for lock in LOCKS:
        requirements = re.split(r"\n(?=[a-z])", (ROOT / lock).read_text().strip())
        assert len(requirements) > 10 and all("--hash=sha256:" in requirement for requirement in requirements)


def test_client_lock_names_one_version_with_integrity() -> None:
    lines = [line.split() for line in (ROOT / "scripts/claude-code.lock").read_text().splitlines() if line[0] == "@"]
    assert len({version for _, version, _ in lines}) == 1
    assert all(re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", integrity) for _, _, integrity in lines)


def test_aimock_lock_pins_the_package_that_is_asked_for_by_its_integrity_and_no_address() -> None:
    folder = ROOT / "tests" / "support" / "aimock"
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = {name.removeprefix("node_modules/"): package for name, package in locked.items() if name}
    assert {name: package["version"] for name, package in found.items()} == asked
    assert all(re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"]) for package in found.values())
    assert "://" not in (folder / "package-lock.json").read_text()
