"""The embedded engine and a real OPA give the same decision on every query, made up or of the examples."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.config.model import Policy
from gateway.core.decisions.decision import Decision
from gateway.policy.answer import read_answer
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.evaluator import ENTRY_POINT, build_evaluator
from gateway.policy.live import open_engine
from gateway.policy.opa import Limits
from gateway.policy.policyset import data_json
from gateway.policy.ruletests import complete_query
from gateway.policy.settings import merge_settings
from tests.differential.asking import FAILED, Reference, reference
from tests.differential.queries import Maker, examples, settings_variants
from tests.support.clock import FakeClock
from tests.support.opa import opa_server
from tests.support.policies import POLICIES, packaged_bundle

SEED = 20261122
TYPED_QUERIES = 200
"""For each variant of the settings."""
RAW_QUERIES = 50
ASKED_QUERIES = 100
UNDEFINED = "<undefined>"

VARIANTS = settings_variants(packaged_bundle())


@pytest.fixture(scope="module")
def opa() -> Iterator[Reference]:
    """A real OPA with the packaged policies."""
    with reference(packaged_bundle()) as asked:
        yield asked


def whole(bundle: Bundle, over: Mapping[str, Any]) -> dict[str, Any]:
    settings, problems = merge_settings(bundle, over)
    assert problems == []
    return settings


def decided(answer: Any, revision: str) -> Decision | str:
    return FAILED if answer in (FAILED, None) else read_answer(answer, revision)


def heard(decision: Decision) -> Decision | str:
    failed = [reason.rule for reason in decision.reasons] == ["engine/failed"]
    return FAILED if failed else decision


def evaluated(bundle: Bundle, settings: Mapping[str, Any], documents: Sequence[Any]) -> list[Any]:
    """What the embedded evaluator answers; None: undefined."""
    evaluator = build_evaluator(bundle.modules, data_json(settings))
    answers: list[Any] = []
    for document in documents:
        evaluator.set_input_json(json.dumps(document))
        try:
            answer = evaluator.eval_rule(ENTRY_POINT)
        except RuntimeError:
            answer = FAILED
        answers.append(None if answer == UNDEFINED else answer)
    return answers


@pytest.mark.parametrize("variant", VARIANTS)
async def test_made_up_query_is_decided_the_same(opa: Reference, variant: str) -> None:
    bundle, settings = packaged_bundle(), whole(packaged_bundle(), VARIANTS[variant])
    maker, engine = Maker(bundle, SEED), EmbeddedEngine(bundle, settings)
    queries = [maker.typed() for _ in range(TYPED_QUERIES)]
    answers = opa.answers([msgspec.to_builtins(query) for query in queries], settings)
    embedded = [heard(await engine.decide(query)) for query in queries]
    assert embedded == [decided(answer, engine.revision) for answer in answers]
    assert len({str(query.action) for query in queries}) > TYPED_QUERIES / 2


@pytest.mark.parametrize("variant", ["as they come", "mixed modes"])
def test_document_that_lacks_something_is_answered_the_same(opa: Reference, variant: str) -> None:
    bundle, settings = packaged_bundle(), whole(packaged_bundle(), VARIANTS[variant])
    maker = Maker(bundle, SEED)
    documents = [maker.raw() for _ in range(RAW_QUERIES)]
    assert evaluated(bundle, settings, documents) == opa.answers(documents, settings)


def test_every_example_is_answered_the_same(opa: Reference) -> None:
    bundle, groups = packaged_bundle(), dict[str, dict[str, Any]]()
    for name, example in examples(bundle).items():
        groups.setdefault(json.dumps(example.get("settings", {})), {})[name] = complete_query(example)
    differing: list[str] = []
    for over, documents in groups.items():
        settings = whole(bundle, json.loads(over))
        answers = opa.answers([*documents.values()], settings)
        embedded = evaluated(bundle, settings, [*documents.values()])
        differing += [name for name, mine, other in zip(documents, embedded, answers, strict=True) if mine != other]
    assert differing == [] and len(examples(bundle)) > 100


async def test_query_that_the_gateway_asks_an_opa_is_decided_the_same() -> None:
    """The whole way: policies put on the server, the engine, its revision."""
    maker = Maker(packaged_bundle(), SEED + 1)
    queries = [maker.typed() for _ in range(ASKED_QUERIES)]
    told: list[str] = []
    limits = Limits(timeout_ms=20_000, asked=lambda outcome, seconds: told.append(outcome))
    with opa_server() as server:
        policy = Policy(engine="opa", url=server.url, path=POLICIES, rules={"spawn/limits": "shadow"})
        embedded = EmbeddedEngine(packaged_bundle(), whole(packaged_bundle(), {"modes": dict(policy.rules)}))
        async with open_engine(policy, FakeClock(), limits) as asking:
            answers = [await asking.decide(query) for query in queries]
            assert answers == [await embedded.decide(query) for query in queries]
            assert asking.revision == embedded.revision and {answer.allow for answer in answers} == {True, False}
    assert set(told) <= {"answered"}


@pytest.mark.parametrize(
    "body",
    [
        "violations contains x if x := 1 / (input.time.hour - input.time.hour)\n",
        'violations contains "x" if to_number(input.principal.user) > 1\n',
        'violations contains "x" if regex.match("[", input.principal.user)\n',
        "twice := input.principal.user\n\ntwice := input.principal.org\n\nviolations contains twice if true\n",
    ],
)
async def test_rule_that_fails_is_a_failure_to_both(body: str) -> None:
    head = "package ringfence.rules.test.probe\n\n"
    files = {name: packaged_bundle().files[name] for name in ("main.rego", "lib/lib.rego")}
    bundle = Bundle({**files, "rules/test/probe/rule.rego": head + body})
    settings, query = whole(packaged_bundle(), {}), Maker(packaged_bundle(), SEED).typed()
    embedded = heard(await EmbeddedEngine(bundle, settings).decide(query))
    with reference(bundle) as asked:
        (answer,) = asked.answers([msgspec.to_builtins(query)], settings)
    assert (embedded, answer) == (FAILED, FAILED)
