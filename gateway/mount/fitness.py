"""What runs of scripts would meet on this machine, for `ringfence check`: their limits, and how they can be confined.

Starts a sandbox and a shell once and ends them. Opens neither store nor port.
"""

import asyncio
import shutil

from gateway.config import Config
from gateway.config.model import Runs
from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.mount import build_settings, find_shell
from runtime.core.limits import Limits
from runtime.ports import SandboxFailed
from runtime.sandbox.host import ChildSandboxes
from runtime.tools.bubblewrap import NoSandbox

HOUR_SECONDS = 3_600
APPROVAL = {"policy": "approved where a rule wants it", "ask": "each approved by a person", "never": "never approved"}


def summarise_runs(config: Config) -> dict[str, str]:
    """One line each."""
    if not config.runs.enabled:
        return {"runs": "off (runs.enabled)"}
    return asyncio.run(_summarise(config))


async def _summarise(config: Config) -> dict[str, str]:
    runs = config.runs
    rows = {
        "runs": _limits_line(runs),
        "journal of runs": f"in the store, for {runs.keep_days} days after a run has ended",
        "script sandbox": await _sandbox_line(build_settings(runs, {}).limits),
        "workspaces": ", ".join(map(str, runs.workspaces)) or "none, so agents of runs get no tools for files",
    }
    if runs.workspaces:
        rows["Bash of agents"] = await _shell_line(runs)
        rows["worktrees"] = shutil.which("git") or "none can be made: there is no git on PATH"
    return rows


def _limits_line(runs: Runs) -> str:
    cap = runs.max_cost_nanousd
    cost = "no cap on the cost" if cap is None else f"${cap / NANOUSD_PER_USD:.2f}"
    size = f"{runs.concurrency} agents side by side, {runs.agents_max} in all"
    return f"{size}, {runs.lifetime_seconds / HOUR_SECONDS:g} h, {cost}; {APPROVAL[runs.approval]}; model {runs.model}"


async def _sandbox_line(limits: Limits) -> str:
    sandboxes = ChildSandboxes()
    try:
        await (await sandboxes.open(limits)).close()
    except SandboxFailed as failed:
        return f"none can be started here, so every run fails: {failed.message}"
    assert sandboxes.hardening is not None
    missing = ", ".join(sandboxes.hardening.missing)
    return f"holds, but without {missing}, which this system lacks" if missing else "holds, with every measure"


async def _shell_line(runs: Runs) -> str:
    found = await find_shell(runs)
    return f"not offered: {found.reason}" if isinstance(found, NoSandbox) else f"in bubblewrap ({found.path})"
