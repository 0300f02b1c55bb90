"""The packaged capability table, what is refused of another, and what one upstream makes of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway
from gateway.config.backends import BACKENDS
from gateway.core.bridging.capabilities import Capabilities, CapabilitiesInvalid, parse_capabilities
from gateway.core.bridging.features import UNLISTED_BETA, VERSION_FEATURE, Place, cell_holds, parse_place, undated
from gateway.core.bridging.support import MODELS_MAX
from gateway.core.wire.shapes import Change
from tests.support.capabilities import DOCUMENT, NEW, OLD, TABLE, support


def refused(**row: Any) -> tuple[str, ...]:
    """Problems of a table of one row, of which some keys are replaced; a key that is None is left out."""
    whole: dict[str, Any] = {"id": "x", "title": "an x", "betas": ["x"], "without": "drop", "cells": {"b": False}} | row
    document = {"schema": 1, "backends": {"a": "complete", "b": "listed"}}
    rows = [{key: value for key, value in whole.items() if value is not None}]
    with pytest.raises(CapabilitiesInvalid) as raised:
        parse_capabilities(document | {"features": rows})
    return raised.value.problems


def test_packaged_table_knows_every_backend_that_is_not_of_the_anthropic_shape() -> None:
    others = {name for name, backend in BACKENDS.items() if backend.shape != "anthropic"}
    assert others < set(TABLE.backends) <= BACKENDS.keys()
    assert all(feature.cells.keys() == set(TABLE.backends) for feature in TABLE.features)


def test_backend_that_the_table_does_not_name_lacks_nothing_on_the_anthropic_shape() -> None:
    assert TABLE.support("acme", "anthropic").complete
    own = TABLE.support("acme", "anthropic", cells={"fast_mode": False})
    assert not own.has("fast_mode", NEW) and own.has("files", NEW)


def test_packaged_table_says_yes_throughout_for_first_party() -> None:
    assert support("anthropic").complete and support("simulated").complete
    assert [name for name in ("aws", "bedrock", "foundry", "vertex") if support(name).complete] == []


def test_packaged_globs_name_models_of_the_price_table() -> None:
    prices = yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text())
    models = [model["id"] for model in prices["models"]]
    cells = [cell for feature in TABLE.features for cell in feature.cells.values() if not isinstance(cell, bool)]
    assert cells and all(any(cell_holds(cell, model) for model in models) for cell in cells)


@pytest.mark.parametrize(
    ("model", "entries", "newest", "interleaved"),
    [
        ("claude-opus-5-5", True, True, False),
        ("claude-opus-4-8", True, True, False),
        ("claude-opus-4-7", False, True, False),
        ("claude-sonnet-5", False, True, False),
        ("claude-sonnet-5-5", True, True, False),
        ("claude-haiku-5-5", True, True, False),
        ("claude-fable-5", True, True, False),
        ("claude-opus-4-6", False, False, False),
        ("claude-sonnet-4-6", False, False, False),
        ("claude-opus-4-5-20251101", False, False, True),
        ("claude-sonnet-4-20250514", False, False, True),
        ("claude-3-5-haiku-20241022", False, False, False),
    ],
)
def test_bedrock_takes_by_model_what_its_documents_say(
    model: str, entries: bool, newest: bool, interleaved: bool
) -> None:
    bedrock = support("bedrock")
    assert (bedrock.has("system_entries", model), bedrock.has(VERSION_FEATURE, model)) == (entries, newest)
    assert bedrock.has("interleaved_thinking", model) == interleaved


def test_model_in_a_spelling_of_a_cloud_is_the_same_model() -> None:
    assert support("bedrock").has("system_entries", "us.anthropic.claude-opus-5-5")
    assert not support("bedrock").has("system_entries", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")


def test_opaque_model_is_taken_to_lack_what_only_some_have() -> None:
    profile = "arn:aws:bedrock:us-east-1:0:application-inference-profile/abc"
    assert not support("bedrock").has("system_entries", profile)
    assert support("bedrock").has("context_management", profile)


def test_lacks_of_many_models_stay_bounded_and_right() -> None:
    bedrock = support("bedrock")
    first = bedrock.lacks(OLD)
    for number in range(MODELS_MAX + 1):
        bedrock.lacks(f"model-{number}")
    assert bedrock.lacks(OLD) == first and bedrock.lacks(NEW) != first


def test_configured_cell_comes_before_the_table() -> None:
    off = support("anthropic", cells={"web_search": False})
    assert not off.complete and not off.has("web_search", NEW)
    assert support("bedrock", cells={"system_entries": ("claude-sonnet-5*",)}).has("system_entries", "claude-sonnet-5")


def test_unknown_backend_and_feature_are_errors() -> None:
    with pytest.raises(ValueError, match="backend 'azure'"):
        TABLE.support("azure", "bedrock")
    with pytest.raises(ValueError, match="feature 'telepathy'"):
        support("bedrock", cells={"telepathy": True})


def test_beta_is_renamed_kept_or_dropped_by_the_table() -> None:
    bedrock, vertex = support("bedrock"), support("vertex")
    renamed = ("tool-search-tool-2025-10-19", Change("tool_search", "renamed"))
    assert bedrock.beta("advanced-tool-use-2025-11-20", NEW) == renamed
    assert bedrock.beta("tool-search-tool-2025-10-19", NEW) == ("tool-search-tool-2025-10-19", None)
    assert vertex.beta("claude-code-20250219", NEW) == ("claude-code-20250219", None)
    assert bedrock.beta("claude-code-20250219", NEW) == ("", Change("claude_code", "dropped"))


def test_beta_that_a_feature_does_without_is_no_loss() -> None:
    assert support("vertex").beta("structured-outputs-2025-12-15", NEW) == ("", None)
    assert support("vertex").beta("structured-outputs-2031-01-01", NEW) == ("", None)


def test_unlisted_beta_passes_on_the_anthropic_shape_only() -> None:
    assert support("foundry").beta("brand-new-2027-01-01", NEW) == ("brand-new-2027-01-01", None)
    assert support("bedrock").beta("brand-new-2027-01-01", NEW) == ("", Change(UNLISTED_BETA, "dropped"))


def test_configured_beta_comes_before_the_table() -> None:
    chosen = support("bedrock", betas={"new-2027-01-01": "keep", "old-2027-01-01": "newer-2027-01-01"})
    assert chosen.beta("new-2027-01-01", NEW) == ("new-2027-01-01", None)
    assert chosen.beta("old-2027-01-01", NEW) == ("newer-2027-01-01", Change(UNLISTED_BETA, "renamed"))


def test_dropping_a_beta_drops_the_fields_that_need_it() -> None:
    dropping = support("anthropic", betas={"context-management-2025-06-27": "drop", "effort-2025-11-24": "drop"})
    assert not dropping.has("context_management", NEW) and dropping.has("effort", NEW)
    assert dropping.beta("effort-2025-11-24", NEW) == ("", Change("effort", "dropped"))


def test_beta_name_loses_its_date_in_either_form() -> None:
    assert undated("claude-code-20250219") == "claude-code"
    assert undated("context-1m-2025-08-07") == "context-1m" and undated("mid-2") == "mid-2"


def test_place_is_read_by_its_form() -> None:
    assert parse_place("body.thinking.type=adaptive") == Place("member", "thinking", "type", "adaptive")
    assert parse_place("tools[].type=web_search_*") == Place("tool", value="web_search_*")
    assert parse_place("messages[].role=assistant") is None


def test_place_of_a_type_matches_the_beginning_where_it_says_so() -> None:
    assert Place("tool", value="web_search_*").matches("web_search_20260318")
    assert not Place("tool", value="mcp_toolset").matches("mcp_toolset_2")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": None}, "features[0].id: is missing"),
        ({"colour": "red"}, "features[0].colour: is not a key of a feature"),
        ({"betas": None}, "features[0]: shows nowhere; give it places or betas"),
        ({"betas": "x"}, "features[0].betas: must be a list of texts"),
        ({"places": ["tools.x"]}, "features[0].places: 'tools.x' is no place in a request"),
        ({"without": "ignore"}, "features[0].without: is 'ignore'; one of drop, refuse, rewrite, downgrade"),
        ({"without": "refuse"}, "features[0].advice: goes with `without: refuse`, and only with it"),
        ({"places": ["source.type=url"]}, "features[0].without: drop is not possible for a source"),
        (
            {"places": ["block.type=image"], "without": "rewrite"},
            "features[0].without: rewrite is not possible for a block",
        ),
        ({"cells": {}}, "features[0].cells.b: must be true, false or a list of globs of models"),
        ({"cells": {"b": []}}, "features[0].cells.b: must be true, false or a list of globs of models"),
        ({"cells": {"b": True, "c": True}}, "features[0].cells.c: is not one of the backends"),
        ({"send": {"b": True}}, "features[0].send.b: must be a backend with a name or false"),
        (
            {"betas": [], "places": ["body.x"], "needs_beta": True},
            "features[0].betas: is missing, though send or needs_beta speaks of them",
        ),
    ],
)
def test_wrong_row_is_refused_with_its_place(row: dict[str, Any], problem: str) -> None:
    assert problem in refused(**row)


def test_every_problem_is_told_at_once() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["schema"] = 2
    document["features"].append(document["features"][0] | {"title": ""})
    with pytest.raises(CapabilitiesInvalid) as raised:
        parse_capabilities(document)
    assert len(raised.value.problems) == 3 and "the id 'version_2026_10_21' occurs twice" in str(raised.value)


def test_empty_document_is_refused() -> None:
    with pytest.raises(CapabilitiesInvalid, match="features: is missing or empty"):
        parse_capabilities({})
    assert isinstance(TABLE, Capabilities)
