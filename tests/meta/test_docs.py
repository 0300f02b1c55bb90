"""What a user can set, see or send is in the documentation, by its exact name."""

import dataclasses
import re
import typing
from types import UnionType
from typing import Any

from gateway import contract
from gateway.config import Config
from gateway.errors import Reason
from gateway.telemetry.metrics import Metrics
from tests.meta.sources import ROOT, documentation

HEADERS = (
    *contract.SESSION_HEADERS,
    *contract.AGENT_HEADERS,
    *contract.PARENT_AGENT_HEADERS,
    contract.RUN_HEADER,
    contract.DENIAL_FORM_HEADER,
    contract.REQUEST_ID_HEADER,
    contract.DECISION_HEADER,
    contract.SHOULD_RETRY_HEADER,
)
WRITTEN_OTHERWISE = {"max": "limit_usd", "cost": "cost_usd"}
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


def missing_words(names: set[str]) -> list[str]:
    text = documentation()
    return sorted(name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))


def test_every_config_key_is_documented() -> None:
    keys = (config_keys(Config) | {"limit"}) - NOT_WRITTEN
    assert {"upstreams", "limit_usd", "on_reach", "time_zone", "drain_seconds", "journal", "fuses"} <= keys
    assert missing_words(keys) == []


def test_every_reason_is_documented() -> None:
    assert missing_words({reason.value for reason in Reason}) == []


def test_every_header_of_ours_is_documented() -> None:
    assert missing_words(set(HEADERS)) == []


def test_every_metric_is_documented() -> None:
    rendered = Metrics(lambda model: model, teams=()).render().decode()
    metrics = set(re.findall(r"^# TYPE (ringfence_\w+) ", rendered, re.MULTILINE))
    assert len(metrics) > 10
    assert missing_words(metrics) == []


def test_every_script_is_documented() -> None:
    assert missing_words({"scripts/demo", "scripts/test", "scripts/check", "scripts/bench"}) == []


def test_every_test_that_documents_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", documentation())
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert len(named) > 10 and missing == []
