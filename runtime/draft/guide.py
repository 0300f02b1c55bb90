"""Every sentence that the author of a script reads: the authoring guide beside this file, the task, what came back.

The guide tells what scripts are; the code that holds scripts to it is `check/` and `sandbox/`.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

FAULTS_MAX = 20
"""Told at once."""
FAULT_CHARS_MAX = 1_000

NO_SCRIPT = "there is no script in the answer: put the whole of it into one block that begins with ```js"
SEVERAL = "there is more than one block of code in the answer: put the whole script into one, and make no other"
UNENDED = "the block of code has no end: close it with ``` on a line of its own"
CUT_OFF = "the answer reached the limit of output and was cut off: write a shorter script"
NO_AGENT = "in the rehearsal no agent was started: without `args` too a script has to do its task, by agents"
WITH_FOLDER = (
    "The agents of the script work in the folder {folder} with the tools Read, Glob, Grep, Edit, Write and Bash; "
    "paths in their prompts may be relative to it. You yourself have no tools."
)
WITHOUT_FOLDER = (
    "No folder was named. A run that is started in one gives its agents the tools Read, Glob, Grep, Edit, Write and "
    "Bash there; in any other they have no tools. Write for the first kind if the task is about files. You yourself "
    "have no tools."
)
_ENDINGS = {
    "threw": "in the rehearsal the script threw: {why}",
    "stalled": "in the rehearsal the script came to a stand: {why}",
    "calls": "in the rehearsal the script started agents without end: {why}; bound every loop by a number",
    "seconds": "in the rehearsal the script did not end: {why}; bound every loop by a number",
    "sandbox": "in the rehearsal the script broke a limit: {why}",
}


@cache
def load_guide() -> str:
    """The authoring guide."""
    return (Path(__file__).parent / "guide.md").read_text(encoding="utf-8")


def opening(task: str, folder: str | None, size: str) -> str:
    """The first thing that the author is told. `size`: how large the workflow is meant to be (W191)."""
    where = WITHOUT_FOLDER if folder is None else WITH_FOLDER.format(folder=folder)
    return f"Write a workflow script for this task.\n\n<task>\n{task}\n</task>\n\n{where}\n\n{size}"


def ended_badly(ending: str, why: str) -> str:
    """What a rehearsal that did not end as it should is told as."""
    return _ENDINGS[ending].format(why=_shortened(why))


def sent_back(faults: Sequence[str]) -> str:
    """What the author is told of a script that cannot be handed over."""
    told = "\n".join(f"- {_shortened(fault)}" for fault in faults[:FAULTS_MAX])
    more = f"\n- and {len(faults) - FAULTS_MAX} more" if len(faults) > FAULTS_MAX else ""
    return f"The script cannot be handed over yet:\n{told}{more}\n\nAnswer with the whole script anew, in one block."


def _shortened(text: str) -> str:
    return text if len(text) <= FAULT_CHARS_MAX else text[: FAULT_CHARS_MAX - 1] + "…"
