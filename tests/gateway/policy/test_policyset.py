"""A checked policy set: its settings are whole, its revision tells any change."""

import pytest

from gateway.errors import GatewayError
from gateway.policy.bundle import Bundle
from gateway.policy.loadcheck import check_bundle
from gateway.policy.policyset import PolicySet, checked_set
from tests.support.policies import build_engine, packaged_bundle


def test_problems_are_all_named_with_the_place() -> None:
    over = {"spawn": {"dept": 3}, "modes": {"shell/nothing": "enforce"}}
    problems = check_bundle(packaged_bundle(), over)
    with pytest.raises(GatewayError) as caught:
        checked_set("/srv/policies", packaged_bundle(), over, problems)
    assert "the policies under /srv/policies are refused" in caught.value.message
    assert "did you mean depth?" in caught.value.message
    assert "modes.shell/nothing: there is no such rule" in caught.value.message


def test_set_without_problems_has_the_settings_over_the_defaults() -> None:
    checked = checked_set("here", packaged_bundle(), {"spawn": {"depth": 1}}, [], "v7")
    assert (checked.settings["spawn"]["depth"], checked.settings["mode"], checked.version) == (1, "enforce", "v7")
    assert checked.revision == build_engine({"spawn": {"depth": 1}}).revision


def test_revision_changes_with_modules_and_settings_only() -> None:
    def revision(files: dict[str, str], settings: dict[str, object]) -> str:
        return PolicySet(Bundle(files), settings).revision

    one = revision({"main.rego": "package a\n"}, {"x": 1})
    assert len(one) == 12 and one == revision({"main.rego": "package a\n", "README.md": "new"}, {"x": 1})
    assert one not in (
        revision({"main.rego": "package b\n"}, {"x": 1}),
        revision({"main.rego": "package a\n"}, {"x": 2}),
    )
