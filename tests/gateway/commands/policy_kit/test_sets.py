"""The policy set that is asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.commands.policy_kit.sets import load_set, named_set
from gateway.config import Policy
from gateway.config.model import PolicyBundle
from gateway.errors import GatewayError
from gateway.policy.embedded import EmbeddedEngine
from tests.support.policies import POLICIES


def test_set_is_the_gateways(tmp_path: Path) -> None:
    policy = Policy(mode="shadow", rules={"shell/unclear": "off"})
    found = named_set(policy)
    assert found.settings["mode"] == "shadow" and found.settings["modes"]["shell/unclear"] == "off"
    assert found.revision == EmbeddedEngine(found.bundle, found.settings).revision


def test_folder_counts_instead_of_the_configured_source(tmp_path: Path) -> None:
    shutil.copytree(POLICIES, tmp_path / "p")
    (tmp_path / "p" / "lib" / "more.rego").write_text("package ringfence.more\n")
    assert "lib/more.rego" in load_set(Policy(), tmp_path / "p").bundle.modules
    with pytest.raises(GatewayError, match="holds no policies"):
        load_set(Policy(), tmp_path)


def test_commit_of_a_checkout_can_be_asked(tmp_path: Path) -> None:
    shutil.copytree(POLICIES, tmp_path / "p")
    git = ["git", "-C", str(tmp_path / "p"), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    (tmp_path / "p" / "main.rego").write_text("not what was committed")
    found = named_set(Policy(bundle=PolicyBundle(git=tmp_path / "p")))
    assert len(found.version) == 40 and "not what" not in found.bundle.modules["main.rego"]


def test_setting_that_does_not_exist_is_told() -> None:
    for find in (named_set, lambda policy: load_set(policy, None)):
        with pytest.raises(GatewayError, match=r"tools\.denyy"):
            find(Policy(settings={"tools": {"denyy": []}}))
