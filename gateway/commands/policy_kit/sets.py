"""The policy set that a command asks: a folder, or what the configuration names, and the configured settings."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.model import Policy
from gateway.policy.bundle import load_bundle
from gateway.policy.loadcheck import check_bundle
from gateway.policy.policyset import PolicySet, checked_set
from gateway.policy.settings import merge_settings
from gateway.policy.sources import Fetched, build_source


def load_set(policy: Policy, folder: Path | None) -> PolicySet:
    """The policies of `folder`, else the configured ones, checked as the gateway would.

    Raises `GatewayError` with every problem.
    """
    place, fetched = _read(policy, folder)
    over = _over(policy)
    return checked_set(place, fetched.bundle, over, check_bundle(fetched.bundle, over), fetched.version)


def named_set(policy: Policy) -> PolicySet:
    """The configured policies, for their revision: nothing in them was tried. Raises `GatewayError`."""
    place, fetched = _read(policy, None)
    _, problems = merge_settings(fetched.bundle, _over(policy))
    return checked_set(place, fetched.bundle, _over(policy), problems, fetched.version)


def _over(policy: Policy) -> Mapping[str, Any]:
    return {**policy.overrides, "mode": policy.mode}


def _read(policy: Policy, folder: Path | None) -> tuple[str, Fetched]:
    if folder is not None:
        return str(folder), Fetched(load_bundle(folder))
    source = build_source(policy)
    fetched = asyncio.run(source.read(fresh=True))
    assert fetched is not None
    return source.place, fetched
