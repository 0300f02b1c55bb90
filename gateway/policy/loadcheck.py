"""The load-time gate of policies. Not the engine that serves (`embedded.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the policies. `line` is 0 when no line is meant."""

    file: str
    line: int
    message: str
    suggestion: str


def check_policies(path: Path, settings: Mapping[str, Any]) -> list[Problem]:
    """Every problem of the policies under `path` with `settings` laid over the defaults."""
    return []
