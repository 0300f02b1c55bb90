"""The sandbox of a workflow script under what the chart leaves a container: no capability, a read-only root, no rights.

bubblewrap stands in for the container. Its user is mapped, so what files a real one could read is not told here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, ROOT

PROGRAM = """
import asyncio
from runtime.core.limits import Limits
from runtime.sandbox.host import ChildSandboxes

async def open_one():
    sandboxes = ChildSandboxes()
    await (await sandboxes.open(Limits())).close()
    print("missing:", *sandboxes.hardening.missing)

asyncio.run(open_one())
"""


def bubblewrap() -> str:
    """Path of bwrap. Skips, or fails where it must be there."""
    found = shutil.which("bwrap")
    if found is not None:
        return found
    missing = "there is no bwrap on PATH: install the package bubblewrap"
    if os.environ.get("RINGFENCE_REQUIRE_BWRAP") == "1":
        pytest.fail(f"RINGFENCE_REQUIRE_BWRAP=1, but {missing}", pytrace=False)
    pytest.skip(missing)


def test_w103_sandbox_takes_every_measure_within_the_security_context_of_the_chart(tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    own, pod = values["securityContext"], values["podSecurityContext"]
    assert own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]}
    container = [bubblewrap(), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", str(tmp_path)]
    container += ["--unshare-all", "--uid", str(pod["runAsUser"]), "--gid", str(pod["runAsGroup"]), "--cap-drop", "ALL"]
    container += ["--clearenv", "--setenv", "PYTHONPATH", str(ROOT), "--setenv", "PYTHONDONTWRITEBYTECODE", "1"]
    done = subprocess.run(
        [*container, sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "missing:"), done.stderr
