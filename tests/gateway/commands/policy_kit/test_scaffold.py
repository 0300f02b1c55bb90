"""A rule folder that is ready to be tested."""

import shutil
from pathlib import Path

import pytest

from gateway.commands.output import EXIT_USAGE, CommandFailed
from gateway.commands.policy_kit.scaffold import create_rule
from gateway.policy.loadcheck import run_policy_tests
from tests.support.policies import POLICIES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(POLICIES, tmp_path / "policies")
    return tmp_path / "policies"


def test_new_rule_passes_all_checks_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_rule("deploys/no_friday", folder, as_json=False)
    told = capsys.readouterr().out
    report = run_policy_tests(folder, {})
    (result,) = [one for one in report.results if one.rule == "deploys/no_friday"]
    assert report.ok and result.passed == 5
    assert told.count("wrote ") == 6
    assert "ringfence policy test --path" in told and "ringfence policy replay --path" in told


def test_rule_that_is_there_is_not_touched(folder: Path) -> None:
    before = (folder / "rules/shell/unclear/rule.rego").read_text()
    with pytest.raises(CommandFailed, match="there is such a rule already"):
        create_rule("shell/unclear", folder, as_json=True)
    assert (folder / "rules/shell/unclear/rule.rego").read_text() == before


@pytest.mark.parametrize("rule", ["friday", "shell/", "/x", "a/b/c", "Shell/x", "shell/../x", "shell/default", "a b/c"])
def test_name_that_is_none_is_told(folder: Path, rule: str) -> None:
    with pytest.raises(CommandFailed, match="write it as category/name") as failed:
        create_rule(rule, folder, as_json=True)
    assert failed.value.exit_code == EXIT_USAGE


def test_folder_without_policies_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="holds no policies: copy those under"):
        create_rule("shell/friday", tmp_path, as_json=True)


def test_policies_that_it_does_not_fit_keep_nothing(folder: Path) -> None:
    (folder / "lib" / "lib.rego").write_text("package ringfence.lib\n")
    with pytest.raises(CommandFailed, match="does not fit these policies"):
        create_rule("shell/friday", folder, as_json=True)
    assert not (folder / "rules/shell/friday").exists() and not list(folder.glob("rules/shell/.*"))
