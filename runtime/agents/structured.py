"""The dialogue about a call's output: what is answered to an output call that does not fit, or to none at all. Pure.

    fits            the call resolves; how many tries it took is kept with it
    does not fit    the agent is told every failing path, and tries again; after `tries` failures the call throws
    ends without    the agent is reminded in the same conversation; after `nudges` reminders the call throws

When a limit ended the conversation this page has no say: the limit is then the cause, and is named as such (W66).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.agents.prompts import NUDGE, OUTPUT_TOOL
from runtime.core.model import ThrowCode, Thrown

RAW_TEXT_BYTES_MAX = 64 * 1024
ERRORS_MAX = 50
"""Failing paths that are told at once."""
MESSAGE_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place of a value that breaks its schema. `path` is a JSON pointer; empty: the root."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'root'}: {self.message}"


@dataclass(slots=True, kw_only=True)
class OutputDialogue:
    """Counts tries and reminders of one attempt."""

    tries_max: int
    nudges_max: int
    tries: int = 0
    """Output calls so far."""
    nudges: int = 0
    denial: str = ""
    """Why the gateway refused an output call, if it did."""
    _mismatches: tuple[Mismatch, ...] = field(default=())
    _last_raw: str = ""

    def tried(self, raw: str, mismatches: Sequence[Mismatch]) -> str | None:
        """An output call was made: what the agent is told, or None when it fits."""
        self.tries += 1
        self._mismatches, self._last_raw = tuple(mismatches), raw
        if not mismatches:
            return None
        told = "; ".join(str(each) for each in mismatches[:ERRORS_MAX])
        rest = len(mismatches) - ERRORS_MAX
        more = f"; and {rest} more" if rest > 0 else ""
        return f"The input does not fit the schema, so it was not accepted: {told}{more}. Correct it and call again."

    def exhausted(self) -> Thrown | None:
        """The error when the last try was one too many."""
        if not self._mismatches or self.tries < self.tries_max:
            return None
        return self._thrown(
            "schema_retries_exhausted",
            f"the output did not fit the schema in {self.tries} tries; the last time: {self._mismatches[0]}",
            self._last_raw,
        )

    def ended_without(self, text: str) -> str | Thrown:
        """The agent ended its turn without an output call: the reminder, or the error when there were enough."""
        if self.nudges < self.nudges_max:
            self.nudges += 1
            return NUDGE
        cause = f"; the gateway refused its call: {self.denial}" if self.denial else ""
        message = f"the agent completed without calling {OUTPUT_TOOL}, after {self.nudges} reminders{cause}"
        return self._thrown("schema_missing_output", message, text or self._last_raw)

    def _thrown(self, code: ThrowCode, message: str, raw: str) -> Thrown:
        errors: list[dict[str, Any]] = [
            {"path": each.path, "message": each.message} for each in self._mismatches[:ERRORS_MAX]
        ]
        return Thrown(code=code, message=message, fields={"validationErrors": errors, "rawText": clip(raw)})


def clip(text: str, bytes_max: int = RAW_TEXT_BYTES_MAX) -> str:
    """The beginning of a text that fits into so many bytes of UTF-8."""
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")
