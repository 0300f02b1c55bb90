"""What counts as a change, and how changes are added up."""

import msgspec

from gateway.commands.policy_kit.changes import EXAMPLES_MAX, OTHERS, Change, Tally, about, compare
from gateway.core.decisions.decision import Decision, Limit, Obligation, RuleReason, denied
from tests.gateway.commands.policy_kit.trails import DATABASE, INFER, LIST, REMOVE, SPAWN, record_of

ALLOWED = Decision(allow=True, revision="new")
REFUSED = denied("files/workspace", "no", "new")


def test_same_decision_is_no_change_whatever_its_words() -> None:
    record = record_of(REMOVE)
    again = tuple(RuleReason(one.rule, "other words") for one in record.reasons)
    assert compare(record, Decision(allow=False, reasons=again)) is None
    assert compare(record_of(LIST), ALLOWED) is None


def test_denial_of_what_was_allowed_names_the_rule() -> None:
    change = compare(record_of(LIST), REFUSED)
    assert change == Change("would be denied", ("files/workspace",), ("refuses: files/workspace",))


def test_allowing_what_was_denied_names_the_rules_that_fell_silent() -> None:
    change = compare(record_of(REMOVE), ALLOWED)
    assert change is not None and change.verdict == "would be allowed"
    assert "no longer refuses: shell/destructive" in change.details


def test_denial_by_another_rule_differs() -> None:
    change = compare(record_of(REMOVE), denied("tools/denylist", "no"))
    assert change is not None and change.verdict == "would differ"
    assert {"tools/denylist", "shell/destructive"} <= set(change.rules)


def test_rule_in_shadow_that_speaks_differs() -> None:
    change = compare(record_of(LIST), msgspec.structs.replace(ALLOWED, shadow=(RuleReason("shell/unclear", "x"),)))
    assert change is not None and change.details == ("would refuse (shadow): shell/unclear",)


def test_obligation_of_another_value_and_another_limit_differ() -> None:
    record = msgspec.structs.replace(record_of(INFER), obligations=(Obligation("clamp_max_tokens", 8000),))
    decision = msgspec.structs.replace(
        ALLOWED,
        obligations=(Obligation("clamp_max_tokens", 4000),),
        limits=(Limit(account="org", meter="cost", window="daily", max=1),),
    )
    change = compare(record, decision)
    assert change is not None and change.rules == ()
    assert change.details[:2] == ("obliges to: clamp_max_tokens 4000", "no longer obliges to: clamp_max_tokens 8000")
    assert change.details[2].startswith('limits: {"account":"org"')


def test_changes_are_counted_by_rule_and_user_and_a_few_are_shown() -> None:
    tally, record = Tally(), record_of(LIST)
    for _ in range(EXAMPLES_MAX + 2):
        tally.add(record, REFUSED, compare(record, REFUSED))
    tally.add(record, ALLOWED, None)
    assert (tally.replayed, tally.changes) == (EXAMPLES_MAX + 3, EXAMPLES_MAX + 2)
    assert tally.by_rule["files/workspace"] == tally.by_user["alice"] == {"would be denied": EXAMPLES_MAX + 2}
    assert len(tally.examples["would be denied"]) == EXAMPLES_MAX
    assert tally.examples["would be denied"][0].message == "files/workspace: no"


def test_change_of_masked_record_and_of_the_same_policies_is_counted() -> None:
    tally, record = Tally(), msgspec.structs.replace(record_of(LIST), masked=1, revision="new")
    tally.add(record, REFUSED, compare(record, REFUSED))
    assert (tally.masked, tally.masked_changes, tally.same_revision_changes) == (1, 1, 1)
    assert tally.examples["would be denied"][0].masked


def test_change_that_no_rule_is_known_for_is_counted_as_others() -> None:
    tally = Tally()
    tally.add(record_of(INFER), ALLOWED, Change("would differ", (), ("obliges to: notice",)))
    assert set(tally.by_rule) == {OTHERS}


def test_decision_is_told_in_a_few_words() -> None:
    asked = (INFER, SPAWN, DATABASE, {"kind": "run", "name": "audit"})
    assert [about(record_of(each)) for each in asked] == [
        "claude-opus-4-8",
        "Explore",
        "mcp__db__query",
        "audit 00",
    ]
    assert about(msgspec.structs.replace(record_of(LIST), action=None)) == "Bash"
