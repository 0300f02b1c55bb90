"""What it takes to start a run: `args` as they are read, limits laid together, a refusal of what is no script."""

import json
from typing import Any

import msgspec
import pytest

from runtime.check import prepare
from runtime.core.limits import ARGS_BYTES_MAX
from runtime.core.model import Effort, RunSpec, raw_of
from runtime.launch import JSON_STRING, Launch, RunError, Settings, build_spec, read_args
from tests.runtime.driving import OWNER, launch, script, with_limits

NOW = 1_767_225_600_000


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def built(asked: Launch | None = None, settings: Settings | None = None) -> RunSpec:
    asked = asked or launch("return 1")
    prepared = prepare(asked.script or "")
    return build_spec(asked, prepared, settings or Settings(), now_ms=NOW, script_path=None)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], None, 3, "plain", "", "{no json", "[1,"], ids=repr)
def test_w33_args_are_taken_as_they_came(value: Any) -> None:
    args, warning = read_args(raw(value))
    assert args is not None and json.loads(bytes(args)) == value
    assert warning is None


@pytest.mark.parametrize("text", ['{"files": ["a"]}', " [1, 2]\n", "[]"], ids=repr)
def test_w34_text_that_holds_json_is_read_and_warned_of(text: str) -> None:
    args, warning = read_args(raw(text))
    assert args is not None and json.loads(bytes(args)) == json.loads(text)
    assert warning is not None and warning.startswith(f"{JSON_STRING}: ")


def test_w34_warning_stands_in_the_run() -> None:
    spec = built(launch("return args", args='{"a": 1}'))
    assert [each.split(":")[0] for each in spec.warnings] == [JSON_STRING]
    assert json.loads(bytes(raw_of(spec.args) or b"")) == {"a": 1}


def test_w35_args_past_their_size_are_refused_and_at_it_are_not() -> None:
    fits = raw("x" * (ARGS_BYTES_MAX - 2))
    assert read_args(fits) == (fits, None)
    with pytest.raises(RunError) as refused:
        read_args(raw("x" * (ARGS_BYTES_MAX - 1)))
    assert refused.value.kind == "args_too_large" and str(ARGS_BYTES_MAX) in refused.value.message


def test_args_that_are_no_json_are_refused() -> None:
    with pytest.raises(RunError, match="args are not JSON") as refused:
        read_args(msgspec.Raw(b'{"a": '))
    assert refused.value.kind == "invalid_request"


def test_w33_args_that_were_not_given_are_none() -> None:
    assert read_args(None) == (None, None)
    assert raw_of(built().args) is None


def test_w04_invalid_script_is_refused_with_code_and_place() -> None:
    with pytest.raises(RunError) as refused:
        built(launch("import x from 'y'"))
    assert refused.value.kind == "invalid_script"
    assert (refused.value.detail["code"], refused.value.detail["line"]) == ("module_loading", 2)


def test_w03_ids_of_runs_have_their_form_and_differ() -> None:
    first, second = built().id, built().id
    assert first.startswith("wf_") and len(first) >= 9 and first != second


def test_w05_script_and_its_hash_stand_in_the_run() -> None:
    text = script("return 'ä'").replace("\n", "\r\n")
    spec = built(launch(text))
    assert spec.script == text.replace("\r\n", "\n")
    assert spec.script_sha256 == built(launch(spec.script)).script_sha256


@pytest.mark.parametrize(("asked", "agents"), [(None, 40), (10, 10), (500, 40)])
def test_w98_launch_may_lower_the_cap_on_agents_and_never_raise_it(asked: int | None, agents: int) -> None:
    assert built(launch("return 1", max_agents=asked), with_limits(agents=40)).limits.agents == agents


@pytest.mark.parametrize(
    ("operator", "asked", "cap"), [(None, None, None), (5, None, 5), (5, 3, 3), (5, 9, 5), (None, 9, 9)]
)
def test_w118_launch_may_lower_the_cap_on_cost_and_never_raise_it(
    operator: int | None, asked: int | None, cap: int | None
) -> None:
    settings = Settings(max_cost_nanousd=operator)
    assert built(launch("return 1", max_cost_nanousd=asked), settings).max_cost_nanousd == cap


def test_w115_budget_is_what_was_asked_for_and_nothing_else() -> None:
    assert built(launch("return budget.total")).budget_tokens is None
    assert built(launch("return budget.total", budget_tokens=500_000)).budget_tokens == 500_000


def test_w02_title_is_taken_and_the_name_is_that_of_the_meta() -> None:
    spec = built(launch("return 1", title="Something else"))
    assert (spec.name, spec.title) == ("sweep", "Something else")


def test_w21_name_and_description_are_cut_and_the_script_is_not() -> None:
    text = f"export const meta = {{name: '{'n' * 80}', description: '{'d' * 300}'}}\nreturn 1"
    spec = built(launch(text))
    assert (len(spec.name), len(spec.description)) == (64, 256)
    assert "n" * 80 in spec.script


def test_name_of_characters_that_cannot_be_seen_names_them() -> None:
    text = "export const meta = {name: 'a\\u0000b\\u202ec', description: 'd'}\nreturn 1"
    assert built(launch(text)).name == "a\\u{0000}b\\u{202E}c"


def test_run_without_a_session_has_one_of_its_own() -> None:
    spec = built()
    assert spec.session == f"run-{spec.id}"
    assert built(launch("return 1", session="s-1")).session == "s-1"


@pytest.mark.parametrize("effort", [None, "high"], ids=str)
def test_w50_models_and_effort_go_with_the_run(effort: Effort | None) -> None:
    settings = Settings(model="claude-sonnet-5-5", forced_model="claude-haiku-4-5")
    spec = built(launch("return 1", model="claude-opus-5-5", effort=effort), settings)
    assert (spec.model, spec.forced_model, spec.effort) == ("claude-opus-5-5", "claude-haiku-4-5", effort)
    assert built(settings=settings).model == "claude-sonnet-5-5"


def test_owner_of_the_launch_is_that_of_the_run() -> None:
    assert built().owner == OWNER and built().created_ms == NOW


def test_w24_warnings_of_the_check_stand_in_the_run() -> None:
    spec = built(launch("return Date.now()"))
    assert len(spec.warnings) == 1 and "Date.now" in spec.warnings[0]
