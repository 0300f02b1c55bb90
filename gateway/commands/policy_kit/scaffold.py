"""`ringfence policy new`: a rule folder that passes `policy test` as it is, to be made into what is meant."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.output import EXIT_USAGE, CommandFailed, plain, print_json, print_rich
from gateway.config import Policy
from gateway.policy.bundle import MAIN_FILE, load_bundle
from gateway.policy.loadcheck import run_policy_tests

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEYWORDS = frozenset(
    "as contains data default else every false if import in input not null package some true with".split()
)
_RULE = """\
# METADATA
# title: {title}
# description: Calls of example_tool are refused. Say here in one sentence what the rule is for.
package ringfence.rules.{category}.{name}

import data.ringfence.lib

violations contains lib.violation(
	"example_tool is not used here",
	"use another tool",
) if {{
	input.action.kind == "tool_call"
	input.action.tool == "example_tool"
}}
"""
_TEST = """\
package ringfence.rules.{category}.{name}_test

import data.ringfence.rules.{category}.{name}

test_example_tool_refused if {{
	count({name}.violations) == 1 with input as {{"action": {{"kind": "tool_call", "tool": "example_tool"}}}}
}}

test_other_tool_passes if {{
	count({name}.violations) == 0 with input as {{"action": {{"kind": "tool_call", "tool": "Read"}}}}
}}
"""
_PAGE = """\
# {category}/{name}

Calls of `example_tool` are refused.

Say here what the rule is for, and what it does where the answer is not plain.

**Settings**: none

**Reach**: what the rule cannot see.
"""
_CALL: Mapping[str, Any] = {"kind": "tool_call", "tool": "example_tool", "input": {}}
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "allow_other_tool": {
        "query": {"action": {**_CALL, "tool": "Read", "input": {"file_path": "/home/alice/shop/a.py"}}},
        "expect": {"allow": True, "rules": []},
    },
    "deny_example_tool": {"query": {"action": _CALL}, "expect": {"allow": False, "rules": ["{rule}"]}},
    "missing_tool": {
        "query": {"action": _CALL},
        "expect": {"allow": False, "rules": ["engine/query"]},
        "without": ["action.tool"],
    },
}


def create_rule(rule: str, folder: Path, *, as_json: bool) -> None:
    """Write the folder of `rule` (`category/name`) into the policies under `folder`.

    Raises `CommandFailed` when there is one, or the name is none; then nothing is written.
    """
    category, name = _parse_rule(rule)
    _check_folder(folder)
    place = folder / "rules" / category / name
    if place.exists():
        raise CommandFailed(f"{place}: there is such a rule already; take another name, or change that one")
    try:
        written = _write(place, category, name)
    except OSError as error:
        raise CommandFailed(f"{place}: cannot be written: {error.strerror or error}") from None
    _check_written(place, rule, folder)
    if as_json:
        print_json({"rule": rule, "folder": str(place), "files": written})
        return
    print_rich(*(plain(f"wrote {place / file}") for file in written))
    print_rich(
        plain(f"next: say in {place / 'rule.rego'} what is refused, change its test and examples, then run"),
        plain(f"  ringfence policy test --path {folder}"),
        plain(f"  ringfence policy replay --path {folder}      (what it would have changed)"),
    )


def _parse_rule(rule: str) -> tuple[str, str]:
    category, _, name = rule.partition("/")
    for part in (category, name):
        if not _NAME.fullmatch(part) or part in _KEYWORDS:
            message = f"{rule!r} is no name of a rule; write it as category/name, in small letters, digits and _"
            raise CommandFailed(message, EXIT_USAGE)
    return category, name


def _check_folder(folder: Path) -> None:
    packaged = Policy().folder
    if folder.resolve() == packaged.resolve() and packaged.name == "_policies":
        message = f"{folder} belongs to the installed package; copy it, and name the copy with --path or policy.path"
        raise CommandFailed(message)
    if not (folder / MAIN_FILE).is_file():
        message = f"{folder} holds no policies: copy those under {packaged} there first, and set policy.path to it"
        raise CommandFailed(message)
    load_bundle(folder)


def _write(place: Path, category: str, name: str) -> list[str]:
    """Beside its place first: a folder that is half there would stop a gateway that reloads."""
    beside = place.with_name(f".{name}.new")
    words = {"category": category, "name": name, "title": name.replace("_", " ").capitalize()}
    files = {"rule.rego": _RULE, "rule_test.rego": _TEST, "README.md": _PAGE}
    texts = {file: text.format(**words) for file, text in files.items()}
    for example, content in _EXAMPLES.items():
        text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
        texts[f"examples/{example}.json"] = text.replace("{rule}", f"{category}/{name}")
    try:
        for file, text in texts.items():
            (beside / file).parent.mkdir(parents=True, exist_ok=True)
            (beside / file).write_text(text, encoding="utf-8")
        beside.rename(place)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return list(texts)


def _check_written(place: Path, rule: str, folder: Path) -> None:
    """The new rule fits among the others, which may have problems of their own."""
    report = run_policy_tests(folder, {})
    problems = [f"{one.file}:{one.line}: {one.message}" for one in report.problems if rule in one.file]
    problems += [f"{one.file}: {one.detail}" for each in report.results if each.rule == rule for one in each.failures]
    if problems:
        shutil.rmtree(place, ignore_errors=True)
        raise CommandFailed(f"the rule {rule} does not fit these policies, and was not kept: {'; '.join(problems)}")
