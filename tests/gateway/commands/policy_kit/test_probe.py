"""Policies asked about the past: the same answer as the engine's, and honest where a record is silent."""

from typing import Any

import pytest

from gateway.commands.policy_kit.probe import Probe, lines_about, rule_of
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.policyset import PolicySet
from gateway.policy.settings import merge_settings
from tests.gateway.commands.policy_kit.trails import DATABASE, INFER, LIST, NO_DROP, PUSH, REMOVE, SPAWN, probe_of
from tests.support.policies import build_engine, build_query, packaged_bundle

INPUT = ("action.input",)
READER = """
package ringfence.rules.shell.reader

import data.ringfence.lib
import input.action as asked

violations contains lib.violation("x", "y") if {
	input.action.kind == "tool_call"
	input.action.tool == "Bash"
	%s
}
"""


def probe_with(body: str) -> Probe:
    """The packaged policies and one more rule whose last statement is `body`."""
    bundle = Bundle({**packaged_bundle().files, "rules/shell/reader/rule.rego": READER % body})
    return Probe(PolicySet(bundle, merge_settings(bundle, {})[0]))


@pytest.mark.parametrize("action", [INFER, LIST, REMOVE, SPAWN, {"kind": "run", "profile": None}], ids=str)
async def test_answer_is_the_engines(action: dict[str, Any]) -> None:
    query, engine = build_query(action), build_engine()
    answer = probe_of().ask(query)
    assert answer.decision == await engine.decide(query)
    assert answer.unsure == ()


def test_rule_that_does_not_look_at_the_input_is_sure_without_it() -> None:
    assert probe_of(NO_DROP).ask(build_query(PUSH), INPUT).unsure == ()
    assert probe_of(NO_DROP).ask(build_query(DATABASE), INPUT).unsure == ("tools/denylist",)


def test_same_call_is_sure_when_its_input_was_recorded() -> None:
    answer = probe_of(NO_DROP).ask(build_query(DATABASE))
    assert answer.unsure == () and not answer.decision.allow


def test_answer_that_is_remembered_is_the_same() -> None:
    probe = probe_of(NO_DROP)
    assert probe.ask(build_query(DATABASE), INPUT) is probe.ask(build_query(DATABASE), INPUT)
    assert probe.ask(build_query(DATABASE)).unsure != probe.ask(build_query(DATABASE), INPUT).unsure


@pytest.mark.parametrize(
    "body",
    [
        'input.action.input.command == "ls"',
        'input.action["input"].command == "ls"',
        'asked.input.command == "ls"',
        'object.get(input.action, ["input", "command"], "") == "ls"',
        'object.get(input, ["action", "input"], {}) == {}',
        "not input.action.input.command",
        'action := input.action\n\taction.input.command == "ls"',
        'count([word | some word in split(\n\t\tinput.action.input.command,\n\t\t" ",\n\t)]) > 3',
        "some part in object.keys(asked)\n\tpart == 1",
    ],
)
def test_rule_that_looks_at_the_input_in_any_way_is_unsure(body: str) -> None:
    assert probe_with(body).ask(build_query(LIST), INPUT).unsure == ("shell/reader",)


def test_rule_that_stops_before_it_looks_is_sure() -> None:
    probe = probe_with('input.action.tool == "Other"\n\tinput.action.input.command == "ls"')
    assert probe.ask(build_query(LIST), INPUT).unsure == ()


def test_other_unrecorded_parts_count_as_well() -> None:
    answer = probe_of().ask(build_query(LIST), (*INPUT, "action.facts"))
    assert "shell/destructive" in answer.unsure and "main.rego" in answer.unsure


async def test_policies_that_fail_deny_as_in_the_gateway() -> None:
    clashing = (
        'clash == 1\n}\n\nclash := 1 if input.action.tool == "Bash"\n\nclash := 2 if {\n\tinput.action.tool == "Bash"'
    )
    probe = probe_with(clashing)
    decision = probe.ask(build_query(LIST), INPUT).decision
    assert [one.rule for one in decision.reasons] == ["engine/failed"]
    assert decision == await EmbeddedEngine(probe.policies.bundle, probe.policies.settings).decide(build_query(LIST))


def test_words_are_those_of_every_rule() -> None:
    words = probe_of({"notices": [{"text": "hello"}]}).words(build_query(INFER))
    assert set(words) == set(packaged_bundle().rules)
    assert [dict(one) for one in words["notices/standing"]["obligations"]] == [{"kind": "notice", "value": "hello"}]
    assert probe_of({"notices": [{"text": "hello"}]}).obliging(build_query(INFER)) == ("notices/standing",)


def test_lines_about_a_path_are_those_that_name_it_or_what_is_above_it() -> None:
    text = "import input.action as a\ninput.action.kind\ninput.action.input.x\na.tool\na.input\nf(input)\ninput.time\n"
    assert lines_about(text, ("action", "input")) == {1, 3, 5, 6}


def test_rule_is_named_by_its_folder() -> None:
    assert (rule_of("rules/shell/unclear/rule.rego"), rule_of("main.rego")) == ("shell/unclear", "main.rego")
