"""The registry of scripts: what a change makes of an entry, and how many are kept."""

import pytest

from gateway.core.decisions.decision import Registration, ScriptProfile
from gateway.core.oversight import scripts
from gateway.core.oversight.scripts import (
    Approval,
    Script,
    ScriptBook,
    ScriptUnknown,
    approve,
    is_sha256,
    propose,
    revoke,
)

HASH = "a" * 64
PROFILE = ScriptProfile(valid=True, name="sweep")
PROPOSED = Script(HASH, "proposed", 1, name="sweep", profile=PROFILE, text="code")
APPROVAL = Approval(HASH, "olga", 2, "read it")


def test_unknown_script_can_be_approved_by_its_hash_alone() -> None:
    script = approve(None, APPROVAL)
    assert script.registration == Registration(None, "olga", 2) and script.why == "read it"
    assert PROPOSED.registration is None


def test_approval_keeps_what_was_proposed() -> None:
    script = approve(propose(None, PROPOSED), APPROVAL)
    assert (script.state, script.name, script.profile, script.text) == ("approved", "sweep", PROFILE, "code")
    assert script.without_text().text is None


def test_proposal_adds_the_source_and_changes_no_state() -> None:
    script = propose(approve(None, APPROVAL), PROPOSED)
    assert (script.state, script.by, script.text) == ("approved", "olga", "code")
    revoked = revoke(script, by="otto", at_ms=3, why="old")
    assert propose(revoked, PROPOSED).state == "revoked" and revoked.registration is None


@pytest.mark.parametrize("before", [None, PROPOSED, revoke(approve(None, APPROVAL), by="x", at_ms=3, why="")])
def test_only_an_approved_script_can_be_revoked(before: Script | None) -> None:
    with pytest.raises(ScriptUnknown, match="no approved script"):
        revoke(before, by="olga", at_ms=4, why="")


def test_older_news_of_a_script_are_left_out() -> None:
    book, approved = ScriptBook(), approve(PROPOSED, APPROVAL)
    revoked = revoke(approved, by="olga", at_ms=3, why="")
    book.put(revoked)
    book.put(approved)
    assert book.find(HASH) == revoked and book.find(None) is None


def test_registry_is_full_for_new_scripts_only() -> None:
    book = ScriptBook()
    for number in range(scripts.APPROVED_MAX):
        book.put(approve(None, Approval(f"{number:064}", "olga", 1, "")))
    assert book.is_full(HASH) and not book.is_full(f"{0:064}")
    assert book.surplus() == []


def test_oldest_of_the_others_are_surplus() -> None:
    book = ScriptBook()
    book.put(approve(None, APPROVAL))
    for number in range(scripts.OTHERS_KEPT_MAX + 1):
        book.put(Script(f"{number:064}", "proposed", number))
    assert book.surplus() == [f"{0:064}"]
    assert book.listed()[0].at_ms == scripts.OTHERS_KEPT_MAX


@pytest.mark.parametrize("text", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 65])
def test_what_is_no_hash_is_not_taken_for_one(text: str) -> None:
    assert not is_sha256(text) and is_sha256("0" * 64)
