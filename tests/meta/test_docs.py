"""What a user can set, see or send is in the documentation, by its exact name."""

import argparse
import dataclasses
import re
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Any

from gateway import contract
from gateway.__main__ import build_parser
from gateway.config import Config
from gateway.core.fuses import fuse
from gateway.errors import Reason
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.webhook import SIGNATURE_HEADER
from tests.meta.sources import ROOT, documentation, python_files

HEADERS = (
    *contract.SESSION_HEADERS,
    *contract.AGENT_HEADERS,
    *contract.PARENT_AGENT_HEADERS,
    contract.RUN_HEADER,
    contract.DENIAL_FORM_HEADER,
    contract.REQUEST_ID_HEADER,
    contract.DECISION_HEADER,
    contract.REASON_HEADER,
    contract.SHOULD_RETRY_HEADER,
    contract.BRIDGED_HEADER,
    SIGNATURE_HEADER,
)
WRITTEN_OTHERWISE = {
    "max": "limit_usd",
    "cost": "cost_usd",
    "warn_percent": "warn_at",
    "max_cost_nanousd": "max_cost_usd",
}
"""Fields of the checked configuration whose key in the file has another name."""
NOT_WRITTEN = {"source"}
"""Fields that the reader of the file sets."""


def dataclasses_in(annotation: Any) -> set[type]:
    """The dataclasses that a field's type mentions."""
    found = {annotation} if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) else set[type]()
    if typing.get_origin(annotation) or isinstance(annotation, UnionType):
        for argument in typing.get_args(annotation):
            found |= dataclasses_in(argument)
    return found


def config_keys(section: type) -> set[str]:
    """Every key of a section and of the sections in it."""
    keys: set[str] = set()
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        keys.add(WRITTEN_OTHERWISE.get(field.name, field.name))
        for nested in dataclasses_in(hints[field.name]):
            keys |= config_keys(nested)
    return keys


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    """Every command as it is typed, groups that do nothing by themselves left out."""
    for action in parser._actions:  # argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                if sub.get_default("run") is not None:
                    yield (name,)
                yield from ((name, *rest) for rest in commands_of(sub))


def missing_words(names: set[str]) -> list[str]:
    text = documentation()
    return sorted(name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))


def test_every_config_key_is_documented() -> None:
    keys = (config_keys(Config) | {"limit"}) - NOT_WRITTEN
    assert {"upstreams", "limit_usd", "on_reach", "time_zone", "drain_seconds", "journal", "fuses"} <= keys
    assert missing_words(keys) == []


def test_every_reason_is_documented() -> None:
    assert missing_words({reason.value for reason in Reason}) == []


def test_every_meter_of_a_fuse_is_documented() -> None:
    meters = {WRITTEN_OTHERWISE.get(meter, meter) for meters in fuse.METERS.values() for meter in meters}
    assert missing_words(meters) == []


def test_every_command_is_documented() -> None:
    typed = {" ".join(words) for words in commands_of(build_parser())}
    assert {"serve", "sessions stop", "policy replay", "workflows approve"} <= typed
    page = (ROOT / "docs" / "operations.md").read_text().replace("\\|", "|")
    spelt = {f"{group} {one}" for group, ones in re.findall(r"(\w+) (\w+(?:\|\w+)+)", page) for one in ones.split("|")}
    spelt |= {f"credentials {one}" for one in ("create", "list", "revoke")}
    assert sorted(words for words in typed - spelt if not re.search(rf"`(?:ringfence )?{words}\b", page)) == []


def test_every_audit_event_is_documented() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    sources = "\n".join(path.read_text() for path in python_files("gateway"))
    events = set(re.findall(r'\._?record\(\s*"(\w+)"', sources))
    assert {"control", "fuse", "claim_refused", "approval", "decision", "request"} <= events
    assert sorted(event for event in events if f"| `{event}` |" not in page) == []


def test_every_header_of_ours_is_documented() -> None:
    assert missing_words(set(HEADERS)) == []


def test_every_metric_is_documented() -> None:
    rendered = Metrics(lambda model: model, teams=()).render().decode()
    metrics = set(re.findall(r"^# TYPE (ringfence_\w+) ", rendered, re.MULTILINE))
    assert len(metrics) > 10
    assert missing_words(metrics) == []


def test_every_script_is_documented() -> None:
    assert missing_words({"scripts/demo", "scripts/test", "scripts/check", "scripts/bench"}) == []


def anchor_of(heading: str) -> str:
    """As the pages' viewer makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    anchors = {page: {anchor_of(each) for each in re.findall(r"^#+ (.*)$", page.read_text(), re.M)} for page in pages}
    lost: list[str] = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in anchors.get(target, {anchor})):
                lost.append(f"{page.name}: {link}")
    assert lost == []


def test_every_test_that_documents_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", documentation())
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert len(named) > 10 and missing == []
