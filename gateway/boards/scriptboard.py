"""The registry of workflow scripts of the running gateway: reads and changes it in the store that all gateways share.

What a change means is `core/oversight/scripts.py`; what waits for one is `approvalboard.py`, which also forgets what
is old.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.core.decisions.decision import Registration, Run
from gateway.core.oversight.scripts import (
    Approval,
    RegistryFull,
    Script,
    ScriptBook,
    approve,
    decode_optional,
    decode_script,
    encode_script,
    propose,
    revoke,
)
from gateway.ports import Clock, SharedRecords

SCRIPT_CHARS_MAX = 524_288
"""Longest source that is kept to be read; no client takes a longer one."""
FORGOTTEN_AT_ONCE = 50


class ScriptBoard:
    """All scripts that somebody asked for or approved."""

    def __init__(
        self,
        records: SharedRecords,
        record: Callable[[str, Mapping[str, Any]], None],
        clock: Clock,
        *,
        changed: Callable[[], None],
    ) -> None:
        """`record` is the audit trail's; `changed` is called after a change that was made here."""
        self.book = ScriptBook()
        self._records = records
        self._record = record
        self._clock = clock
        self._changed = changed

    def registered(self, sha256: str) -> Registration | None:
        """The registry's entry for a script, if it is approved."""
        script = self.book.find(sha256)
        return None if script is None else script.registration

    async def propose(self, run: Run, sha256: str, text: str) -> None:
        """Somebody wants to run it: keep it for whoever is asked. Raises `Refused(STORE_UNAVAILABLE)`."""
        known = self.book.find(sha256)
        if known is not None and known.text is not None:
            return
        readable = text.encode("utf-8", "replace").decode() if len(text) <= SCRIPT_CHARS_MAX else None
        now_ms = self._clock.unix_ms()
        proposed = Script(sha256, "proposed", now_ms, name=run.name, profile=run.profile, text=readable)
        await self._change(sha256, lambda before: propose(before, proposed))

    async def register(self, approval: Approval) -> Script:
        """A named person approves a script for good. Raises `RegistryFull`, `Refused(STORE_UNAVAILABLE)`."""
        if self.book.is_full(approval.sha256):
            raise RegistryFull("as many scripts are approved as there can be: revoke some first")
        return await self._decide(approval.sha256, lambda before: approve(before, approval))

    async def revoke(self, sha256: str, *, by: str, why: str) -> Script:
        """A named person approves it no more. Raises `ScriptUnknown`, `Refused(STORE_UNAVAILABLE)`."""
        now_ms = self._clock.unix_ms()
        return await self._decide(sha256, lambda before: revoke(before, by=by, at_ms=now_ms, why=why))

    def learn(self, sha256: str, text: bytes | None) -> None:
        """Take over what the store holds. Raises `msgspec.MsgspecError`."""
        if text is None:
            self.book.drop(sha256)
        else:
            self.book.put(decode_script(text))

    async def forget(self) -> None:
        """Remove what is not needed any more, a little at a time. Raises `Refused(STORE_UNAVAILABLE)`."""
        for sha256 in self.book.surplus()[:FORGOTTEN_AT_ONCE]:
            await self._records.change_record("script", sha256, _nothing)
            self.book.drop(sha256)

    async def _decide(self, sha256: str, change: Callable[[Script | None], Script]) -> Script:
        script = await self._change(sha256, change)
        self._record("script", msgspec.structs.asdict(script.without_text()))
        self._changed()
        return script

    async def _change(self, sha256: str, change: Callable[[Script | None], Script]) -> Script:
        """In one order for all gateways."""

        def apply(before: bytes | None) -> bytes:
            return encode_script(change(decode_optional(before)))

        written = await self._records.change_record("script", sha256, apply)
        assert written is not None
        script = decode_script(written)
        self.book.put(script)
        return script


def _nothing(_: bytes | None) -> None:
    return None
