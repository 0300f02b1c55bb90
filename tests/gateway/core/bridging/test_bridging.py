"""A whole request through the bridge: what is reported, what passes as the same object, how betas and fields agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core.bridging import Bridgeable, Bridged, bridge
from gateway.core.bridging.features import Feature
from gateway.core.bridging.losses import Losses
from gateway.core.bridging.support import Support
from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION, Change
from gateway.core.wire.spans import Malformed, members
from tests.support.capabilities import NEW, OLD, support
from tests.support.features import ASK

CASES = sorted((Path(__file__).parents[3] / "golden" / "bridging").glob("*.json"))


def fitted(body: dict[str, Any], by: Support, *betas: str, model: str = NEW, version: str = OLD_VERSION) -> Bridged:
    raw = json.dumps({"model": model, "messages": [ASK], **body}).encode()
    return bridge(Bridgeable(raw, members(raw), betas, version, model), by)


def changes(found: Bridged) -> dict[str, str]:
    return {change.feature: change.action for change in found.changes}


def test_request_that_loses_nothing_is_the_same_object() -> None:
    raw = b'{ "messages" : [ ] , "output_config":{"effort":"low"} }'
    request = Bridgeable(raw, members(raw), ("effort-2025-11-24",), OLD_VERSION, NEW)
    found = bridge(request, support("bedrock"))
    assert found.body is raw and found.spans is request.spans
    assert found.betas == ("effort-2025-11-24",) and found.changes == ()


def test_spans_are_those_of_the_new_body() -> None:
    found = fitted({"speed": "fast", "max_tokens": 5}, support("bedrock"))
    assert found.spans == members(found.body) and "speed" not in found.spans


def test_each_feature_is_reported_once() -> None:
    body = {"safeguards": [{"type": "x"}]}
    found = fitted(body, support("bedrock"), "dangerous-tool-use-2026-09-03", "afk-mode-2026-01-31")
    assert found.changes == (Change("safeguards", "dropped"),) and found.betas == ()


def test_loss_of_the_field_outweighs_that_of_its_beta() -> None:
    found = fitted({"speed": "fast"}, support("bedrock"), "fast-mode-2026-02-01")
    assert changes(found) == {"fast_mode": "downgraded"}


def test_two_names_of_one_beta_are_sent_once() -> None:
    found = fitted({}, support("bedrock"), "tool-search-tool-2025-10-19", "advanced-tool-use-2025-11-20")
    assert found.betas == ("tool-search-tool-2025-10-19",)


def test_beta_of_a_refused_feature_alone_is_dropped() -> None:
    found = fitted({}, support("bedrock"), "mcp-client-2025-11-20")
    assert found.betas == () and changes(found) == {"mcp_connector": "dropped"}


def test_configured_drop_takes_the_field_along() -> None:
    dropping = support("anthropic", betas={"context-management-2025-06-27": "drop"})
    found = fitted({"context_management": {"edits": []}}, dropping, "context-management-2025-06-27", "x-2026-01-01")
    assert "context_management" not in found.spans and found.betas == ("x-2026-01-01",)
    assert changes(found) == {"context_management": "dropped"}


def test_configured_yes_lets_the_field_pass() -> None:
    allowing = support("bedrock", cells={"fast_mode": True})
    found = fitted({"speed": "fast"}, allowing)
    assert "speed" in found.spans and found.changes == ()


@pytest.mark.parametrize(
    ("model", "version", "sent", "reported"),
    [
        (NEW, NEW_VERSION, NEW_VERSION, {}),
        (OLD, NEW_VERSION, OLD_VERSION, {"version_2026_10_21": "downgraded"}),
        (OLD, OLD_VERSION, OLD_VERSION, {}),
    ],
)
def test_version_goes_down_where_the_model_lacks_it(model: str, version: str, sent: str, reported: Any) -> None:
    found = fitted({}, support("bedrock"), model=model, version=version)
    assert found.version == sent and changes(found) == reported


def test_part_that_cannot_be_read_in_one_way_is_refused_with_its_place() -> None:
    raw = b'{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","type":"url"}}]}]}'
    with pytest.raises(Malformed, match=r"messages\[0\]\.content\[0\]\.source\.type: the key occurs twice"):
        bridge(Bridgeable(raw, members(raw), (), OLD_VERSION, NEW), support("bedrock"))


def test_losses_keep_the_order_in_which_they_were_found() -> None:
    losses = Losses("bedrock")
    losses.note(Feature("b", "b"))
    losses.note(Feature("a", "a"))
    found = losses.changes([Change("c", "renamed"), Change("a", "dropped")])
    assert [change.feature for change in found] == ["c", "a", "b"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_recorded_request_becomes_what_was_agreed(path: Path) -> None:
    case = json.loads(path.read_text())
    asked, agreed = case["asked"], case["bridged"]
    raw = json.dumps(asked["body"], separators=(",", ":"), ensure_ascii=False).encode()
    request = Bridgeable(raw, members(raw), tuple(asked["betas"]), asked["version"], case["model"])
    found = bridge(request, support(case["backend"]))
    wanted = json.dumps(agreed["body"], separators=(",", ":"), ensure_ascii=False)
    assert found.body.decode() == wanted and list(found.betas) == agreed["betas"]
    assert found.version == agreed["version"] and changes(found) == agreed["changes"]


def test_there_are_recorded_requests_for_each_backend_that_lacks_something() -> None:
    assert {json.loads(path.read_text())["backend"] for path in CASES} >= {"aws", "bedrock", "foundry", "vertex"}
