"""A policy set that passed the load-time gate, ready for an engine. Not the gate (`loadcheck.py`), no evaluation."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError, Reason
from gateway.policy.bundle import Bundle
from gateway.policy.settings import Problem, merge_settings

REVISION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Modules, and settings that are whole: the defaults with the configuration over them."""

    bundle: Bundle
    settings: Mapping[str, Any]
    version: str = ""
    """What its source calls it: a commit, or the revision of a bundle."""

    @property
    def revision(self) -> str:
        """Twelve hex digits of all modules and data: changes when any decision could, whichever engine decides."""
        return revision_of(self.bundle, self.settings)


def revision_of(bundle: Bundle, settings: Mapping[str, Any]) -> str:
    """Of the modules that serve, and of the settings they read."""
    digest = hashlib.sha256()
    for name, text in bundle.modules.items():
        digest.update(f"{name}\0{len(text.encode())}\0".encode() + text.encode())
    digest.update(data_json(settings).encode())
    return digest.hexdigest()[:REVISION_DIGITS]


def data_json(settings: Mapping[str, Any]) -> str:
    """The document that rules find under `data`."""
    return json.dumps({"ringfence": {"settings": settings}}, sort_keys=True)


def checked_set(
    place: str, bundle: Bundle, over: Mapping[str, Any], problems: Sequence[Problem], version: str = ""
) -> PolicySet:
    """The set of a bundle whose check found `problems`. Raises `GatewayError` when it found any."""
    if problems:
        raise GatewayError(Reason.POLICY_FAILED, f"the policies under {place} are refused: {listed(problems)}")
    settings, _ = merge_settings(bundle, over)
    return PolicySet(bundle, settings, version)


def listed(problems: Sequence[Problem]) -> str:
    """Problems as one line."""
    return " | ".join(
        f"{one.file}{f':{one.line}' if one.line else ''}: {one.message}; {one.suggestion}" for one in problems
    )
