"""The engine in use, and how a new policy set replaces it while requests are decided. Not the check (`loadcheck.py`).

A new set is read and checked beside the running one; only a set without problems takes over, by one reference. A
decision that is being made is finished by the engine it began with.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.core.decision import Decision, Query
from gateway.policy.bundle import load_bundle
from gateway.policy.embedded import build_checked, load_engine
from gateway.policy.loadcheck import check_bundle


class LiveEngine:
    """Implements `ports.PolicyEngine`. Build and reload it on the event loop's thread."""

    def __init__(self, path: Path, settings: Mapping[str, Any], mode: str) -> None:
        """Raises `GatewayError` with every problem of the policies."""
        self._path = path
        self._over = {**settings, "mode": mode}
        self._engine = load_engine(path, settings, mode)

    @property
    def revision(self) -> str:
        """Of the policies that decide now."""
        return self._engine.revision

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`. Never raises."""
        return await self._engine.decide(query)

    async def reload(self) -> str:
        """Take over the policies as they are on disk now; returns their revision.

        Raises:
            GatewayError: with every problem; the policies in use stay.
        """
        bundle = load_bundle(self._path)
        problems = await asyncio.to_thread(check_bundle, bundle, self._over)
        self._engine = build_checked(self._path, bundle, self._over, problems)
        return self._engine.revision
