"""A decision from memory is the one that an evaluation would give now: for any part of a query that differs."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.core.decisions.decision import Query
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.memo import Memo
from gateway.policy.settings import merge_settings
from tests.differential.queries import SETTINGS, Maker, changed_leaves
from tests.support.policies import packaged_bundle

SEED = 20261122
QUERIES = 30
CHANGES = 12
"""Of each query, one part at a time."""


def built(variant: str) -> EmbeddedEngine:
    settings, problems = merge_settings(packaged_bundle(), SETTINGS[variant])
    assert problems == []
    return EmbeddedEngine(packaged_bundle(), settings)


def neighbours() -> Iterator[Query]:
    """Queries, each with others that differ from it in one part, and again itself."""
    maker, chance = Maker(packaged_bundle(), SEED), random.Random(SEED)
    before: dict[str, dict[str, Any]] = {}
    for _ in range(QUERIES):
        whole: dict[str, Any] = msgspec.to_builtins(maker.typed())
        kind = whole["action"]["kind"]
        for changed in (*changed_leaves(whole, chance, CHANGES), *mixed(whole, before.get(kind, whole))):
            try:
                query = msgspec.convert(changed, Query)
            except msgspec.ValidationError:
                continue
            yield msgspec.convert(copy.deepcopy(whole), Query)
            yield query
        before[kind] = whole


def mixed(whole: dict[str, Any], other: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Copies of a document of one kind, each with one part of another document of that kind."""
    for part in ("principal", "lineage", "meters", "time"):
        yield {**whole, part: other[part]}
    for part in whole["action"]:
        yield {**whole, "action": {**whole["action"], part: other["action"][part]}}


@pytest.mark.parametrize("variant", ["as they come", "models by name", "tools by name", "narrow trees"])
async def test_remembered_decision_is_the_evaluated_one(variant: str) -> None:
    remembering, forgetful = built(variant), built(variant)
    differing: list[str] = []
    for query in neighbours():
        forgetful.memo = Memo()
        if await remembering.decide(query) != await forgetful.decide(query):
            differing.append(msgspec.json.encode(query).decode())
    assert differing == []
    assert remembering.memo.hits > QUERIES and remembering.memo.misses > QUERIES


async def test_decision_is_not_remembered_under_other_settings() -> None:
    queries = list(neighbours())[: 5 * QUERIES]
    engines = [built(variant) for variant in ("as they come", "models by name", "as they come")]
    decisions = [[await engine.decide(query) for query in queries] for engine in engines]
    assert decisions[0] == decisions[2] != decisions[1]
    assert {decision.revision for decision in decisions[1]} == {engines[1].revision} != {engines[0].revision}
