"""Names that no agent may write."""

import pytest

from runtime.tools.protected import is_protected, refuse_protected
from runtime.tools.refusal import Refused


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".git",
        "vendor/lib/.git/config",
        ".claude/settings.json",
        ".claude/settings.local.json",
        ".claude/agents/reviewer.md",
        ".claude/workflows/nightly.js",
        "packages/app/.claude/workflows/nightly.js",
    ],
)
def test_w146_consent_and_settings_cannot_be_written(path: str) -> None:
    with pytest.raises(Refused, match="cannot be written"):
        refuse_protected(path.split("/"))


@pytest.mark.parametrize(
    "name",
    [".GIT", ".Git", ".claude ", ".git.", ".\u200cgit", ".g\u200dit", "\uff0egit", ".CLAUDE"],
    ids=["upper", "mixed", "blank", "dot", "non-joiner", "joiner", "full-width", "claude-upper"],
)
def test_names_that_some_file_systems_take_for_them_are_protected(name: str) -> None:
    assert is_protected([name, "config"])


@pytest.mark.parametrize("path", [".gitignore", ".github/workflows/ci.yml", "git/config", "claude", "src/.gitkeep"])
def test_names_that_only_look_similar_are_free(path: str) -> None:
    assert not is_protected(path.split("/"))
