"""The approval card: what a person is shown, from the facts of real scripts and of small ones."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.check import check
from runtime.core.limits import Limits
from runtime.core.model import Tokens
from runtime.core.plans.card import Card, Proposal, build_card
from runtime.core.plans.forecast import CallCount, PhaseCount, Rehearsal
from runtime.core.plans.preview import Earlier

WORKFLOWS = Path(__file__).parents[3] / "golden" / "workflows"
AUDIT = (WORKFLOWS / "01_missing_auth_audit.js").read_text()
META = "export const meta = {name: 'n', description: 'd', phases: [{title: 'P', detail: 'all', model: 'opus'}]}\n"


def dollar(model: str, tokens: Tokens) -> int | None:
    return 1_000_000_000


def card_of(script: str, **more: Any) -> Card:
    profile = check(script)
    given: dict[str, Any] = {
        "project": "/repo",
        "name": profile.name,
        "description": profile.description,
        "script": script,
        "script_sha256": "abc",
        "facts": profile,
        "limits": Limits(),
        "run_model": "sonnet",
    }
    return build_card(Proposal(**{**given, **more}), dollar)


def codes(card: Card) -> set[str]:
    return {warning.partition(":")[0] for warning in card.warnings}


def test_w140_card_shows_the_workflow_its_phases_a_caution_and_the_script() -> None:
    card = card_of(AUDIT)
    assert (card.name, card.script) == ("missing-auth-audit", AUDIT)
    assert [(phase.title, phase.detail) for phase in card.phases] == [
        ("Inventory", None),
        ("Audit", "one agent per file"),
        ("Refute", "one skeptic per finding"),
        (None, None),
    ]
    assert card.caution and card.description.startswith("Find route handlers")


def test_w140_consent_offers_three_choices() -> None:
    consent = card_of(AUDIT).consent
    assert consent.choices == ("once", "always", "deny")


def test_w142_consent_is_bound_to_project_name_and_script() -> None:
    consent = card_of(AUDIT, script_sha256="123").consent
    assert (consent.project, consent.name, consent.script_sha256) == ("/repo", "missing-auth-audit", "123")


def test_w142_changed_script_shows_what_changed_and_asks_so() -> None:
    card = card_of(META + "await agent('b')", last_script=META + "await agent('a')")
    assert "-await agent('a')" in card.diff and "+await agent('b')" in card.diff
    assert "has changed" in card.consent.question


@pytest.mark.parametrize("last", [None, META + "await agent('a')"], ids=["none", "the_same"])
def test_w142_script_without_a_change_shows_no_difference(last: str | None) -> None:
    card = card_of(META + "await agent('a')", last_script=last)
    assert (card.diff, "has changed" in card.consent.question) == ("", False)


def test_w143_card_tells_which_sites_inherit_the_model_of_the_run() -> None:
    body = "await agent('a'); await agent('b', {model: 'haiku'}); await agent('c', {agentType: 'Explore'})"
    card = card_of(META + body)
    assert card.inheriting_sites == 1
    assert [(use.model, use.inherited, use.agent_type) for use in card.phases[-1].models] == [
        ("sonnet", True, None),
        ("haiku", False, None),
        (None, False, "Explore"),
    ]


def test_w143_forced_model_is_shown_everywhere() -> None:
    card = card_of(META + "await agent('a', {phase: 'P', model: 'opus'})", forced_model="haiku")
    assert [(use.model, use.inherited) for use in card.phases[0].models] == [("haiku", False)]
    assert (card.forced_model, card.phases[0].model) == ("haiku", "opus")


def test_w143_model_that_only_a_run_can_tell_is_not_guessed() -> None:
    card = card_of(META + "await agent('a', {phase: 'P', model: args.model})")
    assert [use.model for use in card.phases[0].models] == [None]
    assert card.price.low_nanousd is None


def test_w143_unbounded_fan_out_is_shown_with_its_cap() -> None:
    card = card_of(AUDIT)
    assert (card.agents.text, card.agents.high) == ("unbounded, capped at 1000", 1000)
    assert "unbounded" in codes(card) and any("line" in warning for warning in card.warnings)


def test_w143_bounded_script_is_priced_by_list() -> None:
    card = card_of(META + "await agent('a'); if (args) await agent('b')")
    assert (card.agents.text, card.price.basis) == ("2", "assumed")
    assert (card.price.low_nanousd, card.price.high_nanousd) == (2_000_000_000, 2_000_000_000)


def test_w143_history_tells_the_price_when_there_is_one() -> None:
    card = card_of(AUDIT, history=[Earlier(agents=9, tokens=100, cost_nanousd=7)])
    assert (card.price.basis, card.price.low_nanousd) == ("history", 7)


def test_w143_price_above_what_is_left_is_told() -> None:
    script = META + "await agent('a')"
    assert "over_budget" in codes(card_of(script, remaining_nanousd=1))
    assert "over_budget" not in codes(card_of(script, remaining_nanousd=10_000_000_000))


def rehearsal(**more: Any) -> Rehearsal:
    models = (
        CallCount(phase="P", model=None, agent_type=None, effort=None, calls=30),
        CallCount(phase=None, model="haiku", agent_type=None, effort="low", calls=10),
    )
    phases = (PhaseCount(title="P", calls=30), PhaseCount(title=None, calls=10))
    return Rehearsal(**{"ended": "returned", "calls": 40, "phases": phases, "models": models, **more})


def test_w144_dry_run_counts_calls_and_models_by_phase() -> None:
    card = card_of(META + "for (const f of args) await agent(f)", rehearsal=rehearsal())
    assert [(phase.title, phase.calls) for phase in card.phases] == [("P", 30), (None, 10)]
    assert [(use.model, use.count) for phase in card.phases for use in phase.models] == [("sonnet", 30), ("haiku", 10)]
    assert (card.agents.low, card.agents.high) == (40, 1000)


def test_w144_dry_run_that_did_not_end_makes_it_unbounded() -> None:
    cut = rehearsal(ended="calls", terminated=False, message="it had not ended after 1000 calls", calls=1000)
    card = card_of(META + "await agent('a')", rehearsal=cut)
    assert card.agents.unbounded and {"unbounded", "dry_run_calls"} <= codes(card)


def test_w145_card_warns_of_a_large_workflow_before_it_runs() -> None:
    assert "large_workflow" in codes(card_of(META + "await agent('a')", rehearsal=rehearsal()))
    assert "large_workflow" not in codes(card_of(META + "await agent('a')"))


def test_w143_card_is_plain_json() -> None:
    told = msgspec.json.decode(msgspec.json.encode(card_of(AUDIT, rehearsal=rehearsal())))
    assert told["profile"]["agent_calls"] == 3
    assert told["dry_run"]["calls"] == 40


def test_w143_short_names_are_priced_and_shown_as_what_they_stand_for() -> None:
    asked: list[str] = []

    def cost(model: str, tokens: Tokens) -> int | None:
        asked.append(model)
        return 1

    script = META + "await agent('a', {phase: 'P', model: 'opus'}); await agent('b', {model: 'inherit'})"
    profile = check(script)
    proposal = Proposal(
        project="/repo",
        name="n",
        description="d",
        script=script,
        script_sha256="abc",
        facts=profile,
        limits=Limits(),
        run_model="sonnet",
        models={"opus": "claude-opus-5-5", "sonnet": "claude-sonnet-5-5"},
    )
    card = build_card(proposal, cost)
    uses = [(use.model, use.inherited) for phase in card.phases for use in phase.models]
    assert uses == [("claude-opus-5-5", False), ("claude-sonnet-5-5", True)]
    assert set(asked) == {"claude-opus-5-5", "claude-sonnet-5-5"} and card.inheriting_sites == 1


def test_w140_card_tells_cap_workspace_and_isolation() -> None:
    script = META + "await agent('a', {isolation: 'worktree'})"
    card = card_of(script, cap_nanousd=5, workspace="/repo")
    assert (card.cap_nanousd, card.workspace, card.isolations) == (5, "/repo", ("worktree",))
