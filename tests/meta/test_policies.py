"""Every rule is one complete folder: the rule, its test, its page, and an allow, a deny and a missing-field example."""

import json

from tests.meta.sources import ROOT, documentation

RULES = sorted(path.parent for path in (ROOT / "policies" / "rules").glob("*/*/rule.rego"))
FILES = ("rule.rego", "rule_test.rego", "README.md")
EXAMPLES = ("allow", "deny", "missing")


def test_every_rule_folder_is_complete() -> None:
    folders = [path for path in (ROOT / "policies" / "rules").glob("*/*") if path.is_dir()]
    missing = [f"{folder.name}/{name}" for folder in folders for name in FILES if not (folder / name).exists()]
    assert len(folders) > 5 and missing == []


def test_every_rule_has_an_example_of_each_kind() -> None:
    missing = [
        f"{rule.parent.name}/{rule.name}: {kind}"
        for rule in RULES
        for kind in EXAMPLES
        if not list((rule / "examples").glob(f"{kind}*.json"))
    ]
    assert missing == []


def test_every_example_is_json() -> None:
    examples = [path for rule in RULES for path in (rule / "examples").glob("*.json")]
    assert all(isinstance(json.loads(path.read_text()), dict) for path in examples) and examples


def test_every_rule_is_documented() -> None:
    text = documentation()
    assert [f"{rule.parent.name}/{rule.name}" for rule in RULES if f"{rule.parent.name}/{rule.name}" not in text] == []
