"""Finds and checks the script that a run calls by `workflow()` (W107, W110)."""

import asyncio

import msgspec

from runtime.check import prepare
from runtime.core.happenings import FindWorkflow, NestedFound, NestedMissing
from runtime.core.model import RunSpec
from runtime.ports import ScriptMissing, Scripts


class Lookup:
    """Looks in the same places as a launch."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def find(self, spec: RunSpec, wanted: FindWorkflow) -> NestedFound | NestedMissing:
        """Never raises for what is wrong with the script: the parent is told."""
        try:
            found = await self._scripts.find(spec.owner, spec.workspace, name=wanted.name, path=wanted.path)
        except ScriptMissing as error:
            return NestedMissing(wanted.id, f"workflow(): {error}")
        prepared = await asyncio.to_thread(prepare, found.source)
        if prepared.error is not None:
            return NestedMissing(wanted.id, f"workflow({wanted.name or wanted.path!r}): {prepared.error}")
        return NestedFound(
            id=wanted.id,
            name=str(prepared.meta["name"]),
            source=prepared.source,
            source_sha256=prepared.sha256,
            body=prepared.body,
            meta=msgspec.Raw(msgspec.json.encode(prepared.meta)),
        )
