"""Every cell of the packaged table: a request with the feature arrives with it, or without it as the row says."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.config.backends import BACKENDS
from gateway.core.bridging import Bridgeable, Bridged, bridge
from gateway.core.bridging.features import ACTIONS, Feature
from gateway.core.wire.shapes import Change
from gateway.core.wire.spans import members
from gateway.errors import Reason, Refused
from tests.support.capabilities import NEW, OLD, TABLE, support
from tests.support.clouds import bedrock, foundry, strict, vertex
from tests.support.features import SAMPLES, Sample

JUDGES: Mapping[str, strict.Rules] = {"bedrock": bedrock.RULES, "foundry": foundry.RULES, "vertex": vertex.RULES}
CELLS = [
    pytest.param(feature, backend, model, id=f"{feature.id}-{backend}-{model}")
    for feature in TABLE.features
    for backend in BACKENDS
    for model in (NEW, OLD)
]


def bridged(sample: Sample, backend: str, model: str) -> tuple[bytes, Bridged]:
    raw = json.dumps(sample.request(model)).encode()
    return raw, bridge(Bridgeable(raw, members(raw), sample.betas, sample.version, model), support(backend))


def read(found: Bridged) -> dict[str, Any]:
    assert {name: found.body[slice(*span)] for name, span in found.spans.items()} == {
        name: found.body[slice(*span)] for name, span in members(found.body).items()
    }
    return json.loads(found.body)


def test_every_feature_has_a_sample() -> None:
    assert SAMPLES.keys() == {feature.id for feature in TABLE.features}


@pytest.mark.parametrize(("feature", "backend", "model"), CELLS)
def test_cell_holds_for_a_request(feature: Feature, backend: str, model: str) -> None:
    sample = SAMPLES[feature.id]
    assert sample.found(sample.request(model), sample.betas, sample.version)
    if support(backend).has(feature.id, model):
        raw, found = bridged(sample, backend, model)
        assert found.body is raw and sample.found(read(found), found.betas, found.version)
        assert all(change.action == "renamed" for change in found.changes)
    elif feature.without == "refuse":
        with pytest.raises(Refused) as raised:
            bridged(sample, backend, model)
        assert raised.value.reason is Reason.CAPABILITY_MISSING
        assert raised.value.message.startswith(f"capability_rejected: {feature.id}") and backend in raised.value.message
    else:
        _, found = bridged(sample, backend, model)
        assert not sample.found(read(found), found.betas, found.version)
        assert Change(feature.id, ACTIONS[feature.without]) in found.changes
        assert sample.told.encode() in found.body


@pytest.mark.parametrize(("feature", "backend", "model"), CELLS)
def test_independent_cloud_takes_what_was_bridged(feature: Feature, backend: str, model: str) -> None:
    rules = JUDGES.get(backend)
    if rules is None:
        assert backend == "aws" or support(backend).complete
        return
    try:
        _, found = bridged(SAMPLES[feature.id], backend, model)
    except Refused as refusal:
        assert feature.id in refusal.message
        return
    problems = strict.problems(strict.Judged(read(found), found.betas, found.version, model), rules)
    # On the Anthropic shape an old model gets what it would get at the Claude API: its own refusal.
    assert [problem for problem in problems if backend != "foundry" or "system" not in problem] == []
