"""The Containerfile: what it copies is there, what it runs is what CI runs, and its user is the chart's."""

import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text().replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    """What follows the name of each instruction of a kind."""
    return re.findall(rf"^{name} +(.*)$", CONTAINERFILE, re.MULTILINE)


def copied() -> list[str]:
    """Paths of the repository that go into the build."""
    return [path for line in instructions("COPY") if "--from" not in line for path in line.split()[:-1]]


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    assert [path for path in copied() if not (ROOT / path).exists()] == []
    assert set(copied()) == kept


def test_sources_of_the_package_are_all_copied() -> None:
    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*target["packages"], *target["force-include"]} <= set(copied())


def test_user_is_the_one_of_the_chart_and_not_root() -> None:
    user = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]["runAsUser"]
    assert instructions("USER") == [f"{user}:{user}"] and user != 0


def test_base_image_is_named_by_a_version_that_the_package_supports() -> None:
    assert fnmatch(instructions("ARG")[0], "PYTHON_IMAGE=docker.io/library/python:3.1[1-9]-slim-*")
    assert set(instructions("FROM")) == {"${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"}


def test_agents_of_scripts_find_git_and_bubblewrap() -> None:
    declared = next(line for line in instructions("ARG") if line.startswith("AGENT_PACKAGES="))
    assert set(declared.partition("=")[2].strip('"').split()) == {"git", "bubblewrap"}
    assert any("install -qy --no-install-recommends $AGENT_PACKAGES" in line for line in instructions("RUN"))
    assert "AGENT_PACKAGES" in instructions("ARG"), "the stage that is the image does not see it"


def test_ports_and_command_are_those_that_the_chart_uses() -> None:
    template = (CHART / "templates" / "_containers.tpl").read_text()
    (command,) = instructions("CMD")
    assert instructions("EXPOSE") == ["8080 9464"] and instructions("ENTRYPOINT") == ['["ringfence"]']
    assert yaml.safe_load(command) == yaml.safe_load(re.findall(r"args: (\[serve.*\])", template)[0])


def test_locked_tools_of_the_chart_have_hashes_and_no_address() -> None:
    lock = (ROOT / "helm" / "requirements.lock").read_text()
    packages = re.split(r"\n(?=[a-z])", lock.strip())
    assert len(packages) > 5 and all("==" in each and "--hash=sha256:" in each for each in packages)
    assert "://" not in lock


def test_installed_image_holds_the_gateway_and_nothing_that_installs() -> None:
    installed = os.environ.get("RINGFENCE_INSTALLED")
    if installed is None:
        pytest.skip("RINGFENCE_INSTALLED is not set; scripts/chart follows the Containerfile's steps and sets it")
    found = {path.name for path in Path(installed).parent.iterdir()}
    help_text = subprocess.run([installed, "--help"], capture_output=True, text=True, timeout=50, check=True).stdout
    assert "serve" in help_text
    assert [name for name in found if name.startswith(("pip", "hatch", "easy_install"))] == []
