"""Every cell of the tables in docs/backends.md through the whole gateway: what is marked yes arrives, the rest is told.

What is expected is read from the page itself; what a feature is and how it is seen, from requests written by hand.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.support.capabilities import NEW, OLD, support
from tests.support.clouds.claude import API_KEY, FakeClaude
from tests.support.clouds.cloud import Arrived, Cloud
from tests.support.clouds.configured import BACKENDS, Backend
from tests.support.clouds.foundry import FakeFoundry
from tests.support.dialects import Sent, read_error, write_request
from tests.support.features import SAMPLES, Sample
from tests.support.gateway import Serving, serving

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
DEPLOYMENTS = {NEW: NEW, "claude-sonnet-4-5": OLD}
CLOUDS = BACKENDS | {
    "anthropic": Backend(FakeClaude, {"backend": "anthropic", "api_key": API_KEY}),
    "foundry": replace(BACKENDS["foundry"], cloud=lambda: FakeFoundry(deployments=DEPLOYMENTS)),
}
DIALECTS = ("anthropic", "bedrock", "vertex")
NAMES = {
    "anthropic": {NEW: NEW, OLD: OLD},
    "bedrock": {NEW: f"us.anthropic.{NEW}", OLD: f"us.anthropic.{OLD}-v1:0"},
    "vertex": {NEW: NEW, OLD: "claude-sonnet-4-5@20250929"},
}
"""The models as a client of each dialect calls them."""
LOSSES = ("dropped", "rewritten", "downgraded", "refused")
SECTIONS: dict[str, Any] = {
    "budgets": [{"account": "org", "window": "monthly", "limit_usd": 1_000_000}],
    "policy": {"settings": {"tools": {"server_tools": ["*"], "mcp_hosts": ["mcp.example"]}}},
}
"""Nothing but a backend's own lacks may stop a request."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What the page says of one feature at one backend."""

    feature: str
    words: str
    globs: tuple[str, ...]

    def says(self, model: str) -> str:
        """`yes`, or what becomes of a request for this model that uses the feature."""
        loss = next((word for word in LOSSES if self.words.endswith(word)), "")
        has = self.words.startswith("yes") and (not self.globs or any(fnmatchcase(model, glob) for glob in self.globs))
        return "yes" if has else loss


@dataclass(frozen=True, slots=True)
class Played:
    """One request, and everything that was left behind of it."""

    cell: Cell
    model: str
    dialect: str
    backend: str
    sent: Sent
    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived: Arrived | None
    problems: tuple[str, ...]
    record: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.cell.feature} of {self.model} from {self.dialect} to {self.backend}: {self.status} {self.body!r}"

    @property
    def own(self) -> bool:
        """A cloud's own client at that cloud."""
        return self.dialect == self.backend or (self.dialect, self.backend) == ("anthropic", "anthropic")

    @property
    def expected(self) -> str:
        return self.cell.says(self.model)

    @property
    def sample(self) -> Sample:
        return SAMPLES[self.cell.feature]

    @property
    def found(self) -> bool:
        """Was the feature still in the request when it arrived?"""
        if self.arrived is None:
            return False
        normal = self.arrived.normal
        return self.sample.found(normal.body, normal.betas, normal.version)

    @property
    def told(self) -> dict[str, str]:
        """What the client is told of its losses."""
        header = self.headers.get("x-ringfence-bridged", "")
        return dict(part.split("=") for part in header.split(", ") if part)


def read_page() -> tuple[tuple[str, ...], dict[str, dict[str, Cell]]]:
    """The backends of the second table, and its cells by feature and backend."""
    page = PAGE.read_text(encoding="utf-8")
    notes = {
        number: tuple(re.findall(r"`([^`]+)`", row)) for number, row in re.findall(r"^\[(\d+)\] (.+)$", page, re.M)
    }
    head = re.search(r"^\| feature \| beta \| (.+) \|$", page, re.M)
    assert head is not None
    columns = tuple(re.findall(r"`(\w+)`", head[1]))
    cells: dict[str, dict[str, Cell]] = {}
    for feature, row in re.findall(r"^\| [^|]*`(\w+)` \| [^|]*\| (.+) \|$", page, re.M):
        words = row.split(" | ")
        if len(words) == len(columns):
            cells[feature] = {
                backend: Cell(feature, re.sub(r" ?\[\d+\]", "", word), _noted(word, notes))
                for backend, word in zip(columns, words, strict=True)
            }
    return columns, cells


def _noted(word: str, notes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    found = re.search(r"\[(\d+)\]", word)
    return notes[found[1]] if found else ()


COLUMNS, CELLS = read_page()


def requests_for(backend: str) -> Iterator[tuple[Cell, str, str]]:
    """Cell, dialect and model of every request; two models where a note says which have it: one that does, one not."""
    for cells in CELLS.values():
        cell = cells[backend]
        for dialect in DIALECTS:
            yield from ((cell, dialect, model) for model in ((NEW, OLD) if cell.globs else (NEW,)))


def written(cell: Cell, dialect: str, backend: str, model: str) -> Sent:
    """The request as a client of the dialect writes it; a cloud's own client knows what its betas are called there."""
    sample = SAMPLES[cell.feature]
    betas = sample.betas
    if dialect == backend != "anthropic":
        betas = tuple(name for beta in betas if (name := support(backend).beta(beta, model)[0]))
    return write_request(dialect, sample.request(NAMES[dialect][model]), betas=betas, version=sample.version)


async def play(directory: Path, backend: str) -> tuple[list[Played], Any, str]:
    """Every request to one backend through one gateway; the organisation's limit and the metrics at the end."""
    made = CLOUDS[backend]
    async with made.cloud() as cloud:
        async with serving(directory, "", upstreams=[made.upstream(cloud)], **SECTIONS) as gateway:
            answers = [await ask(gateway, cloud, backend, one) for one in requests_for(backend)]
            await gateway.quiet()
            limits = await gateway.operator("limits?account=org")
            metrics = await gateway.metrics()
        records = {record["id"]: record for record in gateway.audit("request")}
    played = [Played(*answer, record=records[answer[6]["x-ringfence-decision"]]) for answer in answers]
    return played, limits["limits"], metrics


async def ask(gateway: Serving, cloud: Cloud, backend: str, one: tuple[Cell, str, str]) -> tuple[Any, ...]:
    cell, dialect, model = one
    sent = written(cell, dialect, backend, model)
    before, faults = len(cloud.received), len(cloud.problems)
    async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
        body = await response.read()
    arrived = cloud.received[before] if len(cloud.received) > before else None
    problems = tuple(cloud.problems[faults:])
    return cell, model, dialect, backend, sent, response.status, response.headers, body, arrived, problems


@dataclass(frozen=True, slots=True)
class Run:
    """All that was played against one backend."""

    backend: str
    played: list[Played]
    limits: list[dict[str, Any]]
    metrics: str

    def fitted(self, *expected: str) -> list[Played]:
        """What reached the backend otherwise than by its own client, and had one of these expected of it."""
        return [each for each in self.played if not each.own and each.expected in expected]


@pytest.fixture(scope="module", params=COLUMNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    backend: str = request.param
    return Run(backend, *asyncio.run(play(tmp_path_factory.mktemp(backend), backend)))


def test_page_has_a_cell_for_every_feature_and_backend() -> None:
    assert CELLS.keys() == SAMPLES.keys() and set(COLUMNS) == CLOUDS.keys()
    said = {cell.says(model) for cells in CELLS.values() for cell in cells.values() for model in (NEW, OLD)}
    assert said == {"yes", *LOSSES}


def test_model_named_by_a_note_is_played_with_and_without_the_feature(run: Run) -> None:
    said: dict[str, set[str]] = {}
    for each in run.played:
        if each.cell.globs:
            said.setdefault(each.cell.feature, set()).add(each.expected)
    assert {feature: words for feature, words in said.items() if len(words) != 2 or "yes" not in words} == {}


def test_feature_marked_yes_arrives_and_the_cloud_takes_it(run: Run) -> None:
    wrong = [
        f"{each} {each.problems} {each.told}"
        for each in run.fitted("yes")
        if (each.status, each.found, each.problems) != (200, True, ()) or set(each.told.values()) - {"renamed"}
    ]
    assert wrong == [] and len(run.fitted("yes")) > 2 * len(DIALECTS)


def test_feature_marked_dropped_rewritten_or_downgraded_is_gone_and_the_client_is_told(run: Run) -> None:
    wrong = [
        f"{each} {each.problems} {each.told}"
        for each in run.fitted("dropped", "rewritten", "downgraded")
        if (each.status, each.found, each.problems) != (200, False, ())
        or each.told.get(each.cell.feature) != each.expected
        or (each.arrived is not None and each.sample.told.encode() not in each.arrived.body)
    ]
    assert wrong == []


def test_beta_that_goes_by_another_name_is_sent_by_it_and_told(run: Run) -> None:
    named = {feature: re.search(r" as `([^`]+)`", cells[run.backend].words) for feature, cells in CELLS.items()}
    renamed = [(each, found[1]) for each in run.fitted("yes") if (found := named[each.cell.feature])]
    wrong = [
        str(each)
        for each, name in renamed
        if each.arrived is None
        or name not in each.arrived.normal.betas
        or (name in each.sample.betas) is ("renamed" in each.told.values())
    ]
    assert wrong == []
    assert renamed or not any(named.values())


def test_beta_that_is_not_sent_stays_behind_while_its_feature_arrives(run: Run) -> None:
    quiet = [each for each in run.fitted("yes") if "without the beta" in each.cell.words and each.sample.betas]
    wrong = [
        str(each) for each in quiet if each.arrived is None or set(each.sample.betas) & set(each.arrived.normal.betas)
    ]
    assert wrong == []
    assert bool(quiet) is any("without the beta" in cells[run.backend].words for cells in CELLS.values())


def test_feature_marked_refused_is_a_400_of_the_clients_dialect_and_nothing_is_sent(run: Run) -> None:
    kinds = {"anthropic": "invalid_request_error", "bedrock": "ValidationException", "vertex": "INVALID_ARGUMENT"}
    wrong: list[str] = []
    for each in run.fitted("refused"):
        kind, sentence = read_error(each.dialect, each.headers, each.body)
        told = (each.status, kind, each.arrived, each.record["cost_nanousd"] or 0, each.record["reason"])
        if told != (400, kinds[each.dialect], None, 0, "capability_missing"):
            wrong.append(f"{each} {told}")
        if not sentence.startswith(f"capability_rejected: {each.cell.feature}:"):
            wrong.append(str(each))
    assert wrong == []


def test_nothing_stays_held_and_only_what_was_sent_is_spent(run: Run) -> None:
    (limit,) = run.limits
    spent = sum(each.record["cost_nanousd"] or 0 for each in run.played)
    assert (limit["held"], limit["used"]) == (0, spent)
    assert spent > 0


def test_audit_records_say_what_the_clients_are_told(run: Run) -> None:
    wrong = [
        f"{each} {each.record['bridged']}"
        for each in run.played
        if {change["feature"]: change["action"] for change in each.record["bridged"]} != each.told
    ]
    assert wrong == []
    assert run.backend == "anthropic" or any(each.told for each in run.played)


def test_metric_counts_what_the_clients_are_told(run: Run) -> None:
    told = Counter((feature, action) for each in run.played for feature, action in each.told.items())
    shown = re.findall(
        r'^ringfence_bridged_total\{action="(\w+)",feature="(\w+)",upstream="main"\} (\d+)\.0$', run.metrics, re.M
    )
    assert {(feature, action): int(count) for action, feature, count in shown} == dict(told)


def test_own_client_of_a_cloud_is_relayed_as_sent_but_for_a_version_the_model_lacks(run: Run) -> None:
    own = [each for each in run.played if each.own]
    wrong = [
        f"{each} {each.told}"
        for each in own
        if each.arrived is None
        or (each.arrived.body == each.sent.body) is (each.told == {"version_2026_10_21": "downgraded"})
        or set(each.told) - {"version_2026_10_21"}
        or (each.expected == "yes" and (each.status, each.found, each.problems) != (200, True, ()))
    ]
    assert wrong == []
    assert bool(own) is (run.backend in ("anthropic", "bedrock", "vertex"))
