"""What people are told of a script that threw, stalled or left agents alone: what, where, and what to write instead."""

import re
from collections.abc import Sequence

from runtime.core.calls import Call
from runtime.core.display import label_of
from runtime.core.program import Program, Threw

NAMED_MAX = 10
NO_PLACE = "1:1"
"""The engine says so, where `meta` is, of what it cannot place, such as a destructuring."""
NO_ARGS = (
    "the script reads args, and this run was started without any: "
    "give them as `args` in the body of the request, or with --args of the command"
)
PLAIN_RESULT = "return objects, arrays, texts, numbers, booleans and null only"
STALLED = "waits for a promise that nothing can settle; await agents, groups, workflows and timers, and only those"

_PLACE = re.compile(r"workflow\.js:(\d{1,7}:\d{1,7})")
_ARGS = re.compile(r"(?<![\w$.])args(?![\w$])")


def throw_text(end: Threw, program: Program) -> str:
    """`TypeError: cannot read property 'files' of undefined (line 5:30)`, and what may be missing (W33, W171)."""
    place = _PLACE.search(end.stack)
    told = end.message if place is None or place[1] == NO_PLACE else f"{end.message} (line {place[1]})"
    if end.code == "result_not_serializable":
        return f"{told}; {PLAIN_RESULT}"
    lacks_args = program.args is None and end.message.startswith("TypeError") and _ARGS.search(program.body)
    return f"{told}; {NO_ARGS}" if lacks_args else told


def unawaited_text(left: Sequence[Call]) -> str:
    """Of agents that nobody waits for any more (W61)."""
    names = ", ".join(f"{call.index} ({label_of(call.prompt, call.options)})" for call in left[:NAMED_MAX])
    more = f" and {len(left) - NAMED_MAX} more" if len(left) > NAMED_MAX else ""
    return f"the script returned without awaiting agents, which were stopped: {names}{more}; write `await agent(...)`"
