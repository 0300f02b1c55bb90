"""What the author of a script is told is true of the runtime that will run it."""

import re

import msgspec
import pytest

from runtime.check import prepare
from runtime.core.limits import ITEMS_MAX, NAME_CHARS_MAX, Limits
from runtime.core.model import CallOptions, Owner
from runtime.core.program import Program
from runtime.draft.guide import FAULT_CHARS_MAX, FAULTS_MAX, ended_badly, load_guide, opening, sent_back
from runtime.draft.reading import find_script
from runtime.ports import Found, ScriptMissing
from runtime.rehearsal import Stage, dry_run
from runtime.sandbox.host import ChildSandboxes

EXAMPLES = re.findall(r"^```js\n.*?^```$", load_guide(), re.MULTILINE | re.DOTALL)
OPTION_ROWS = re.findall(r"^\| (`.*?) \|", load_guide(), re.MULTILINE)
UNMENTIONED = {"evidence"}
"""It does nothing yet."""


class NoScripts:
    """Implements `ports.Scripts`."""

    async def find(self, owner: Owner, workspace: str | None, *, name: str | None, path: str | None) -> Found:
        raise ScriptMissing(f"there is no script {name}")


def test_guide_has_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
async def test_example_passes_the_check_and_ends_in_a_rehearsal(index: int) -> None:
    prepared = prepare(find_script(EXAMPLES[index]))
    assert prepared.error is None and prepared.warnings == ()
    program = Program(source=prepared.source, body=prepared.body, meta=msgspec.Raw(msgspec.json.encode(prepared.meta)))
    stage = Stage(sandboxes=ChildSandboxes(), scripts=NoScripts(), owner=Owner(user="alice", credential="alice-laptop"))
    shown = await dry_run(program, stage)
    assert (shown.ended, shown.warnings) == ("returned", ()) and 0 < shown.calls < 10


def test_options_of_the_guide_are_those_that_an_agent_takes() -> None:
    told = {name for row in OPTION_ROWS for name in re.findall(r"`(\w+)`", row)}
    assert told == {field.encode_name for field in msgspec.structs.fields(CallOptions)} - UNMENTIONED


def test_limits_of_the_guide_are_those_of_a_run() -> None:
    limits, guide = Limits(), load_guide()
    told = (
        f"At most {limits.concurrency} agents work at once",
        f"at most\n{limits.agents} agents",
        f"`pipeline` takes at most {ITEMS_MAX} items",
        f"at most {NAME_CHARS_MAX} characters",
        f"more than {limits.warn_agents} only",
    )
    assert [text for text in told if text not in guide] == []


def test_opening_has_the_task_and_where_agents_work() -> None:
    told = opening("Audit the {routes}.", "/srv/app", "Keep it small.")
    assert "<task>\nAudit the {routes}.\n</task>" in told and "in the folder /srv/app with" in told
    assert "No folder was named" in opening("Audit.", None, "")
    assert told.endswith("Keep it small.")


@pytest.mark.parametrize("ending", ["threw", "stalled", "calls", "seconds", "sandbox"])
def test_bad_ending_is_told_with_its_reason(ending: str) -> None:
    assert "because" in ended_badly(ending, "because") and "rehearsal" in ended_badly(ending, "because")


def test_faults_are_told_within_bounds() -> None:
    told = sent_back(["x" * 10 * FAULT_CHARS_MAX] * (FAULTS_MAX + 5))
    assert len(told) < (FAULTS_MAX + 1) * (FAULT_CHARS_MAX + 10) and "and 5 more" in told
    assert "- one\n- two\n\nAnswer" in sent_back(["one", "two"])
