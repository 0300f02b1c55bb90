"""A webhook in a section: its keys and its faults. What sections do with it is theirs."""

from pathlib import Path

import pytest

from gateway.config.document import Source, parse_document
from gateway.config.model import Secret, WebhookConfig
from gateway.config.values import Table
from gateway.config.webhook import read_webhook


def read(text: str) -> tuple[WebhookConfig | None, list[str], list[str]]:
    source = Source(Path("/ringfence.yaml"), {"HOOK": "a-long-random-secret"})
    entry = parse_document(text, source)
    assert entry is not None
    webhook = read_webhook(Table(entry))
    return webhook, [each.message for each in source.problems], [each.message for each in source.warnings]


def test_webhook_is_its_address_and_its_secret() -> None:
    found = read("{url: 'https://h.example/x?k=1', secret: '${HOOK}'}")
    assert found == (WebhookConfig("https://h.example/x?k=1", Secret("a-long-random-secret")), [], [])
    assert read_webhook(None) is None


@pytest.mark.parametrize(
    "url", ["ftp://h.example", "https://user:pass@h.example", "https://", "https://h.example:99999", "https://h/#x"]
)
def test_address_that_cannot_be_used_is_named_and_not_shown(url: str) -> None:
    webhook, (problem,), _ = read(f"{{url: '{url}', secret: '${{HOOK}}'}}")
    assert webhook is None and "not a usable URL" in problem and url not in problem


def test_address_in_clear_is_a_warning() -> None:
    assert "not encrypted" in read("{url: 'http://h.example', secret: '${HOOK}'}")[2][0]
