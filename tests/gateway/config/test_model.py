"""What a configuration is, apart from reading it."""

import pytest

from gateway.config.model import Policy, Secret, UpstreamConfig


def test_secret_is_shown_nowhere_but_by_reveal() -> None:
    secret = Secret("hunter2-hunter2-hunter2")
    upstream = UpstreamConfig("claude", "anthropic", api_key=secret, headers=(("x-token", "hunter3"),))
    shown = f"{secret} {secret!r} {upstream!r} {[secret]}"
    assert "hunter" not in shown and "***" in shown
    assert secret.reveal() == "hunter2-hunter2-hunter2"


def test_secrets_are_equal_by_content_and_never_hashed() -> None:
    assert Secret("a" * 16) == Secret("a" * 16) and Secret("a" * 16) != Secret("b" * 16)
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))


def test_policy_without_path_is_the_packaged_one() -> None:
    assert Policy().folder.name in ("policies", "_policies")


def test_rule_modes_are_laid_over_with_the_settings() -> None:
    policy = Policy(rules={"shell/unclear": "off"}, settings={"models": {"allow": ["claude-*"]}})
    assert policy.overrides == {"models": {"allow": ["claude-*"]}, "modes": {"shell/unclear": "off"}}
    assert Policy().overrides == {}
