"""Reading of a policy directory."""

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.policy.bundle import FILE_BYTES_MAX, MAIN_FILE, Bundle, load_bundle


def test_files_are_named_below_the_directory(tmp_path: Path) -> None:
    (tmp_path / "rules" / "a" / "b").mkdir(parents=True)
    (tmp_path / MAIN_FILE).write_text("package ringfence\n")
    (tmp_path / "rules" / "a" / "b" / "rule.rego").write_text("package x\n")
    (tmp_path / "rules" / "a" / "b" / "rule_test.rego").write_text("package y\n")
    (tmp_path / "notes.txt").write_text("not read")
    bundle = load_bundle(tmp_path)
    assert list(bundle.modules) == [MAIN_FILE, "rules/a/b/rule.rego"]
    assert list(bundle.tests) == ["rules/a/b/rule_test.rego"] and bundle.rules == ["a/b"]


def test_directory_without_policies_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"main\.rego is missing; set policy\.path"):
        load_bundle(tmp_path)
    with pytest.raises(GatewayError):
        load_bundle(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (FILE_BYTES_MAX + 1)])
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MAIN_FILE).write_bytes(content)
    with pytest.raises(GatewayError, match="cannot be read"):
        load_bundle(tmp_path)


def test_file_directly_under_rules_is_no_rule() -> None:
    assert Bundle({"rules/README.md": "", "rules/a/README.md": ""}).rules == []
