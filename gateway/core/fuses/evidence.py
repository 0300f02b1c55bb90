"""What a person is shown of a loop: which calls repeat, how often, what they return, and where. Bounded and redacted.

Counting is `loops.py`; this is read only when a fuse has changed its state.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from gateway.core.decisions.masking import Masking
from gateway.core.fuses.history import Call
from gateway.core.fuses.loops import CYCLE_CALLS_MAX, Streaks
from gateway.core.wire.redaction import redact

WORDS_CHARS_MAX = 160
"""Of one call or result."""
READ_CHARS_MAX = 1_000
"""Of one call or result that are redacted before they are cut, so that a cut does not hide what a secret is."""


class Evidence(msgspec.Struct, frozen=True):
    """One loop. `messages`: where its calls stand, oldest and newest, counted from the end: the last message is 1,
    and 0 is the answer that was being written.
    """

    calls: tuple[str, ...]
    """Tool and first words of the input of each call that repeats, in the order in which they were made."""
    results: tuple[str, ...]
    """First words of what each of these returned last; empty where it has returned nothing yet."""
    times: int
    messages: tuple[int, int]


def read_evidence(streaks: Streaks, meter: str) -> Evidence | None:
    """The evidence behind one of the streaks; None: there is no call to show."""
    times = streaks.meters()[meter]
    repeated = _repeated(streaks, meter)
    if not repeated or not times:
        return None
    positions = [call.position for call in _covered(streaks, meter, times)]
    return Evidence(
        calls=tuple(_words_of(call) for call in reversed(repeated)),
        results=tuple(_result_of(call, streaks) for call in reversed(repeated)),
        times=times,
        messages=(max(positions, default=0), min(positions, default=0)),
    )


def few_words(evidence: Evidence) -> str:
    """The calls in one line, for a sentence."""
    return ", then ".join(evidence.calls)


def _repeated(streaks: Streaks, meter: str) -> list[Call]:
    """One of each call that repeats, the newest first."""
    if meter == "alternating_tool_calls":
        return list(islice(streaks.calls(), streaks.cycle))
    if meter == "rounds_without_progress":
        found: list[Call] = []
        for call in _covered(streaks, meter, streaks.rounds_without_progress):
            if len(found) < CYCLE_CALLS_MAX and not any(call.same(each) for each in found):
                found.append(call)
        return found
    if meter == "consecutive_errors":
        return list(islice(_failed(streaks), 1))
    return list(islice(streaks.calls(), 1))


def _covered(streaks: Streaks, meter: str, times: int) -> Iterator[Call]:
    """The calls that were counted."""
    if meter == "rounds_without_progress":
        rounds = islice(streaks.history.rounds(), times) if streaks.history is not None else ()
        return (call for each in rounds for call in each.calls)
    return islice(_failed(streaks) if meter == "consecutive_errors" else streaks.calls(), times)


def _failed(streaks: Streaks) -> Iterator[Call]:
    return (call for call in streaks.calls() if call.result is not None and call.result.is_error)


def _result_of(call: Call, streaks: Streaks) -> str:
    """Of the call itself, or of the last one like it that has returned."""
    answered = call.result
    if answered is None:
        like = (each for each in streaks.calls() if each.is_like(call) and each.result is not None)
        answered = next((each.result for each in islice(like, 1)), None)
    return "" if answered is None else _words(answered.content)


def _words_of(call: Call) -> str:
    try:
        spelled = msgspec.json.encode(call.input)
    except (ValueError, TypeError, RecursionError):
        spelled = b""
    return f"{_words(call.name.encode('utf-8', 'replace'))} {_words(spelled)}".rstrip()


def _words(text: bytes) -> str:
    """The first words, on one line."""
    told = Masking().text(redact(text[:READ_CHARS_MAX].decode(errors="replace")))
    told = " ".join("".join(char if char.isprintable() else " " for char in told).split())
    return told if len(told) <= WORDS_CHARS_MAX else told[: WORDS_CHARS_MAX - 3] + "..."
