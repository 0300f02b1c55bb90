"""Model ids of every backend, and what they tell of an endpoint."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.money.prices import merge_prices, parse_prices
from gateway.core.wire.names import Catalogue, govcloud, regional

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8"))
CATALOGUE = parse_prices(DOCUMENT).catalogue
MODELS: list[dict[str, Any]] = DOCUMENT["models"]
BACKENDS = ("anthropic", "aws", "bedrock", "foundry", "simulated", "vertex")
PROFILE_ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
OPAQUE_ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
MODEL_ARN = "arn:aws:bedrock:us-east-1::foundation-model/"


@pytest.mark.parametrize(
    ("spelled", "model"),
    [
        ("us.anthropic.claude-opus-4-8", "claude-opus-4-8"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("in.anthropic.claude-opus-5-5", "claude-opus-5-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("claude-opus-5-5@default", "claude-opus-5-5"),
        (f"{PROFILE_ARN}us.anthropic.claude-opus-5-5", "claude-opus-5-5"),
        (f"{PROFILE_ARN}global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        (f"{MODEL_ARN}anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        (
            "arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.anthropic.claude-opus-5-5",
            "claude-opus-5-5",
        ),
    ],
)
def test_cloud_spelling_becomes_the_id_of_the_claude_api(spelled: str, model: str) -> None:
    assert CATALOGUE.canonical(spelled) == model
    assert CATALOGUE.canonical(model) == model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["id"])
def test_every_spelling_of_the_table_is_known_and_the_first_party_ones_stay(model: dict[str, Any]) -> None:
    ids: dict[str, str | None] = model["ids"]
    for spelled in filter(None, (model["id"], model.get("alias"), ids["claude_api"], ids["claude_platform_aws"])):
        assert CATALOGUE.canonical(spelled) == spelled
    for key in ("bedrock", "vertex"):
        assert CATALOGUE.canonical(ids[key] or model["id"]) == model["id"]


@pytest.mark.parametrize(
    "model",
    [
        "",
        "my-deployment",
        "someone@example.com",
        OPAQUE_ARN,
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/anthropic.claude-opus-5-5",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/anthropic.claude-opus-5-5",
        "arn:aws:s3:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5",
        "us.anthropic.claude-opus-9",
        "us.other.anthropic.claude-opus-5-5",
        "anthropic.claude-opus-5-5-20261201-v1:0",
        "claude-opus-5-5@20261201",
        "claude-opus-5-5-20261201",
        "claude-haiku-4-5-latest",
        "us.anthropic.claude-opus-5-5\n",
    ],
)
def test_unknown_id_and_unknown_snapshot_stay_as_they_are(model: str) -> None:
    assert CATALOGUE.canonical(model) == model


@given(st.text(max_size=60) | st.from_regex(r"(us\.)?(anthropic\.)?claude-[a-z0-9@:.-]{0,40}", fullmatch=True))
def test_canonical_ids_are_a_fixed_point(model: str) -> None:
    once = CATALOGUE.canonical(model)
    assert CATALOGUE.canonical(once) == once
    assert once == model or CATALOGUE.known(once) == once


def test_alias_that_an_operator_adds_is_not_respelled() -> None:
    own = {"id": "claude-house-1", "alias": "house", "context_window": 10, "max_output": 10}
    prices = MODELS[0]["prices"]
    catalogue = parse_prices(merge_prices(DOCUMENT, {"models": [own | {"prices": prices}]})).catalogue
    assert (catalogue.canonical("house"), catalogue.known("house")) == ("house", "claude-house-1")
    assert {catalogue.wire("house", backend=backend, profile="us") for backend in BACKENDS} == {"house"}


@pytest.mark.parametrize(
    ("backend", "profile", "spelled"),
    [
        ("anthropic", None, "claude-sonnet-4-5-20250929"),
        ("simulated", None, "claude-sonnet-4-5-20250929"),
        ("aws", None, "claude-sonnet-4-5-20250929"),
        ("foundry", None, "claude-sonnet-4-5"),
        ("vertex", None, "claude-sonnet-4-5@20250929"),
        ("vertex", "us", "claude-sonnet-4-5@20250929"),
        ("bedrock", None, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "global", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "us-gov", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
def test_each_backend_gets_its_own_spelling(backend: str, profile: str | None, spelled: str) -> None:
    assert CATALOGUE.wire("claude-sonnet-4-5-20250929", backend=backend, profile=profile) == spelled
    from_cloud = CATALOGUE.wire("claude-sonnet-4-5@20250929", backend=backend, profile=profile)
    assert from_cloud == spelled


@pytest.mark.parametrize("model", ["claude-opus-9", "my-deployment", OPAQUE_ARN, "claude-opus-5-5-20261201"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_model_goes_to_a_backend_as_it_is(backend: str, model: str) -> None:
    assert CATALOGUE.wire(model, backend=backend, profile="us") == model


def test_model_that_a_backend_does_not_list_goes_there_as_it_is() -> None:
    assert CATALOGUE.wire("claude-mythos-5", backend="vertex", profile=None) == "claude-mythos-5"
    assert CATALOGUE.wire("claude-opus-4-20250514", backend="bedrock", profile="us") == "claude-opus-4-20250514"


def test_alias_stays_at_anthropic_and_is_spelled_out_elsewhere() -> None:
    for backend in ("anthropic", "aws", "simulated"):
        assert CATALOGUE.wire("claude-haiku-4-5", backend=backend, profile=None) == "claude-haiku-4-5"
    assert CATALOGUE.wire("claude-haiku-4-5-latest", backend="vertex", profile=None) == "claude-haiku-4-5@20251001"


def test_profile_of_the_upstream_replaces_the_one_asked_for_and_without_it_that_one_stays() -> None:
    asked = "eu.anthropic.claude-opus-5-5"
    assert CATALOGUE.wire(asked, backend="bedrock", profile="us") == "us.anthropic.claude-opus-5-5"
    assert CATALOGUE.wire(asked, backend="bedrock", profile=None) == asked


@given(st.sampled_from(MODELS), st.sampled_from(BACKENDS), st.sampled_from([None, "us", "global"]))
def test_spelling_of_any_backend_leads_back_to_the_model(
    model: dict[str, Any], backend: str, profile: str | None
) -> None:
    assert CATALOGUE.known(CATALOGUE.wire(model["id"], backend=backend, profile=profile)) == model["id"]


@pytest.mark.parametrize(
    ("wire_model", "dearer"),
    [
        ("global.anthropic.claude-opus-5-5", False),
        (f"{PROFILE_ARN}global.anthropic.claude-opus-5-5", False),
        ("us.anthropic.claude-opus-5-5", True),
        ("anthropic.claude-opus-5-5", True),
        (f"{PROFILE_ARN}eu.anthropic.claude-opus-5-5", True),
        (f"{MODEL_ARN}anthropic.claude-opus-5-5", True),
        (OPAQUE_ARN, True),
        ("whatever", True),
    ],
)
def test_bedrock_is_dearer_unless_the_profile_is_global(wire_model: str, dearer: bool) -> None:
    assert regional("bedrock", wire_model, "us-east-1") is dearer
    assert not govcloud("bedrock", wire_model, "us-east-1")


@pytest.mark.parametrize(("region", "dearer"), [("global", False), ("us", True), ("europe-west1", True), (None, True)])
def test_vertex_is_dearer_everywhere_but_at_its_global_endpoint(region: str | None, dearer: bool) -> None:
    assert regional("vertex", "claude-opus-5-5", region) is dearer
    assert not govcloud("vertex", "claude-opus-5-5", "us-gov-west-1")


@pytest.mark.parametrize("backend", ["anthropic", "aws", "foundry", "simulated"])
def test_other_backends_have_no_dearer_endpoints(backend: str) -> None:
    assert not regional(backend, "us.anthropic.claude-opus-5-5", "eu-west-1")
    assert not govcloud(backend, "us-gov.anthropic.claude-opus-5-5", "us-gov-west-1")


@pytest.mark.parametrize(
    ("wire_model", "region"),
    [
        ("us-gov.anthropic.claude-opus-5-5", None),
        (f"{PROFILE_ARN}us-gov.anthropic.claude-opus-5-5", None),
        ("anthropic.claude-opus-5-5", "us-gov-west-1"),
        ("arn:aws-us-gov:bedrock:us-gov-east-1:1:application-inference-profile/x", None),
    ],
)
def test_govcloud_is_told_by_profile_partition_or_region(wire_model: str, region: str | None) -> None:
    assert govcloud("bedrock", wire_model, region)
    assert regional("bedrock", wire_model, region)


def test_empty_catalogue_knows_nothing() -> None:
    empty = Catalogue({}, {})
    assert empty.known("claude-opus-5-5") is None
    assert empty.wire("us.anthropic.claude-opus-5-5", backend="vertex", profile=None) == "us.anthropic.claude-opus-5-5"
