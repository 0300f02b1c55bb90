"""The embedded Rego engine. Not the rules (`policies/`), and not the load-time gate (`loadcheck.py`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.core.decision import Decision, Query, denied


class EmbeddedEngine:
    """Decides queries in process. Never raises."""

    revision = ""

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`; whatever goes wrong is a denial."""
        return denied("engine/failed", "not loaded", self.revision)


def load_engine(path: Path, settings: Mapping[str, Any], mode: str) -> EmbeddedEngine:
    """Check the policies under `path` and build an engine. Raises `GatewayError` with every problem."""
    return EmbeddedEngine()
