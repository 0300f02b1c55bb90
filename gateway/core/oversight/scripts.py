"""The registry of workflow scripts by hash: those that somebody wants to run, and those approved for good.

    state      approve    revoke     propose
    proposed   approved   -          proposed
    approved   approved   revoked    approved
    revoked    approved   -          revoked

A script is known by its SHA-256 alone: a changed script is another one. Asks nobody and stores nothing.
"""

from typing import Any, Literal

import msgspec

from gateway.core.decisions.decision import Registration, ScriptProfile

ScriptState = Literal["proposed", "approved", "revoked"]

APPROVED_MAX = 1_000
"""Scripts approved at once; each of them by a person."""
OTHERS_KEPT_MAX = 100
"""Scripts that wait, or are approved no more; the oldest are forgotten first."""
SHA256_CHARS = 64


class ScriptUnknown(LookupError):
    """No approved script has this hash."""


class RegistryFull(ValueError):
    """As many scripts are approved as there can be."""


class Script(msgspec.Struct, frozen=True):
    """One script, and what was said of it last: by whom (None: nobody yet), when and why."""

    sha256: str
    state: ScriptState
    at_ms: int
    name: str | None = None
    by: str | None = None
    why: str = ""
    profile: ScriptProfile | None = None
    text: str | None = None
    """Its source, when somebody asked to run it: whoever approves it reads this."""
    changes: int = 0
    """How often it was changed: more is newer."""

    @property
    def registration(self) -> Registration | None:
        """As policy is told of it; None: not approved."""
        if self.state != "approved" or self.by is None:
            return None
        return Registration(name=self.name, by=self.by, at_ms=self.at_ms)

    def without_text(self) -> "Script":
        """As it is listed."""
        return msgspec.structs.replace(self, text=None)


class Approval(msgspec.Struct, frozen=True):
    """A named person approves a script for good. What is None stays as it was."""

    sha256: str
    by: str
    at_ms: int
    why: str
    name: str | None = None
    profile: ScriptProfile | None = None


def is_sha256(text: str) -> bool:
    """A hash as we write it."""
    return len(text) == SHA256_CHARS and all(char in "0123456789abcdef" for char in text)


def propose(before: Script | None, proposed: Script) -> Script:
    """Somebody wants to run it: remembered with its source, whatever was said of it before."""
    if before is None:
        return proposed
    profile, text = before.profile or proposed.profile, before.text or proposed.text
    return _changed(before, profile=profile, text=text)


def approve(before: Script | None, approval: Approval) -> Script:
    """Approve a script, known or not."""
    known = before or Script(approval.sha256, "approved", approval.at_ms)
    return _changed(
        known,
        state="approved",
        at_ms=approval.at_ms,
        by=approval.by,
        why=approval.why,
        name=approval.name or known.name,
        profile=approval.profile or known.profile,
    )


def revoke(before: Script | None, *, by: str, at_ms: int, why: str) -> Script:
    """Approve it no more. Raises `ScriptUnknown`."""
    if before is None or before.state != "approved":
        raise ScriptUnknown("no approved script has this hash")
    return _changed(before, state="revoked", at_ms=at_ms, by=by, why=why)


class ScriptBook:
    """All scripts that are known here."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}

    def put(self, script: Script) -> None:
        """Take over a script, unless a later state of it is known."""
        known = self._scripts.get(script.sha256)
        if known is None or known.changes <= script.changes:
            self._scripts[script.sha256] = script

    def drop(self, sha256: str) -> None:
        """Forget a script."""
        self._scripts.pop(sha256, None)

    def find(self, sha256: str | None) -> Script | None:
        """The script with this hash."""
        return None if sha256 is None else self._scripts.get(sha256)

    def listed(self) -> list[Script]:
        """Without their sources, the latest first."""
        return [script.without_text() for script in sorted(self._scripts.values(), key=_age)]

    def is_full(self, sha256: str) -> bool:
        """Whether one more, this one, cannot be approved."""
        approved = [script for script in self._scripts.values() if script.state == "approved"]
        return len(approved) >= APPROVED_MAX and all(script.sha256 != sha256 for script in approved)

    def surplus(self) -> list[str]:
        """Hashes of those to be forgotten, so that no more are kept than there may be."""
        others = sorted((each for each in self._scripts.values() if each.state != "approved"), key=_age)
        return [script.sha256 for script in others[OTHERS_KEPT_MAX:]]


def encode_script(script: Script) -> bytes:
    """As the store keeps it."""
    return msgspec.json.encode(script)


def decode_script(text: bytes) -> Script:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(text, type=Script)


def decode_optional(text: bytes | None) -> Script | None:
    """As `decode_script`; None stays None."""
    return None if text is None else decode_script(text)


def _changed(script: Script, **fields: Any) -> Script:
    return msgspec.structs.replace(script, changes=script.changes + 1, **fields)


def _age(script: Script) -> tuple[int, str]:
    return (-script.at_ms, script.sha256)
