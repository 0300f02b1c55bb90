"""Keys of the approvals section, its defaults and its faults."""

from pathlib import Path

import pytest

from gateway.config.approvals import read_approvals
from gateway.config.document import Source, parse_document
from gateway.config.model import Approvals, Secret, WebhookConfig
from gateway.config.values import Table


def read(text: str) -> tuple[Approvals, list[str], list[str]]:
    """The section, its problems and its warnings."""
    source = Source(Path("/ringfence.yaml"), {"HOOK": "a-long-random-secret"})
    entry = parse_document(text, source)
    assert entry is not None
    approvals = read_approvals(Table(entry))
    told = [[f"{each.message} ({each.suggestion})" for each in found] for found in (source.problems, source.warnings)]
    return approvals, told[0], told[1]


def test_section_that_is_left_out_gives_ten_minutes_and_two_eyes() -> None:
    assert read_approvals(None) == Approvals(600, False, None) == read("{}")[0]


def test_everything_can_be_said() -> None:
    text = "{expires_seconds: 60, four_eyes: true, webhook: {url: 'https://h.example/x?k=1', secret: '${HOOK}'}}"
    webhook = WebhookConfig("https://h.example/x?k=1", Secret("a-long-random-secret"))
    assert read(text) == (Approvals(60, True, webhook), [], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{expires_seconds: 0}", "expires_seconds is '0'"),
        ("{expires_seconds: 86401}", "expires_seconds is '86401'"),
        ("{four_eyes: maybe}", "true or false"),
        ("{four_eye: true}", "did you mean four_eyes?"),
        ("{webhook: {url: 'https://h.example'}}", "has no secret"),
        ("{webhook: {secret: '${HOOK}'}}", "has no url"),
        ("{webhook: {url: 'https://h.example', secret: short}}", "shorter than 16"),
        ("{webhook: {url: 'ftp://h.example', secret: '${HOOK}'}}", "not a usable URL"),
        ("{webhook: {url: 'https://user:pass@h.example', secret: '${HOOK}'}}", "not a usable URL"),
        ("{webhook: {url: 'https://h.example:99999', secret: '${HOOK}'}}", "not a usable URL"),
        ("{webhook: {url: 'https://h.example', secret: '${HOOK}', to: x}}", "unknown key"),
    ],
)
def test_fault_is_named_with_its_remedy(text: str, said: str) -> None:
    (problem,) = read(text)[1]
    assert said in problem and "pass@" not in problem


def test_address_in_clear_is_a_warning_unless_it_is_this_machine() -> None:
    assert "not encrypted" in read("{webhook: {url: 'http://h.example', secret: '${HOOK}'}}")[2][0]
    assert read("{webhook: {url: 'http://127.0.0.1:9', secret: '${HOOK}'}}")[2] == []
