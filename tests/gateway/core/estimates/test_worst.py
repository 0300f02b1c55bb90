"""The worst case covers every usage that fits the request."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.estimates.content import measure_content
from gateway.core.estimates.worst import (
    IMAGE_TOKENS_MAX,
    PROMPT_OVERHEAD_TOKENS,
    SERVER_TOOL_SEARCHES,
    Shape,
    bounded,
    counted,
    shape_of,
    strict_nanousd,
    tightest,
    worst,
)
from gateway.core.money.limits import Amounts
from gateway.core.money.prices import Price, parse_prices
from gateway.core.money.pricing import cost_nanousd, terms_for
from gateway.core.money.spending import spent_amounts
from gateway.core.wire.body import peek
from gateway.core.wire.usage import Tokens, Usage
from tests.support.overshoot import overshoot_max

TABLE = parse_prices(yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8")))
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000
MODELS = ["claude-opus-5-5", "claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-opus-4-6"]
ENDPOINTS = [
    ("anthropic", None, None),
    ("aws", None, "us-east-1"),
    ("bedrock", "global", "us-east-1"),
    ("bedrock", "eu", "eu-west-1"),
    ("bedrock", None, "us-east-1"),
    ("bedrock", "us-gov", "us-gov-west-1"),
    ("foundry", None, None),
    ("simulated", None, None),
    ("vertex", None, "global"),
    ("vertex", None, "us-east5"),
]
"""Backend, profile and region."""


def price_of(model: str) -> Price:
    price = TABLE.find(model, NOW)
    assert price is not None
    return price


OPUS = price_of("claude-opus-5-5")


def shape(body: bytes) -> Shape:
    ask = peek(body)
    return bounded(shape_of(ask, body), measure_content(body[slice(*ask.spans["messages"])]))


def test_worst_case_is_one_token_per_byte_written_to_the_dear_cache_and_all_of_max_tokens() -> None:
    prompt = 1_000 + PROMPT_OVERHEAD_TOKENS
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=15_000)) == prompt * 8_000 + 15_000 * 20_000


def test_missing_max_tokens_holds_the_longest_answer_of_the_model() -> None:
    with_all = Shape(body_bytes=10, max_tokens=OPUS.max_output)
    assert strict_nanousd(OPUS, Shape(body_bytes=10, max_tokens=None)) == strict_nanousd(OPUS, with_all)


def test_prompt_is_never_longer_than_the_context_window() -> None:
    huge = Shape(body_bytes=30_000_000, max_tokens=0)
    assert strict_nanousd(OPUS, huge) == OPUS.context_window * 8_000
    assert strict_nanousd(OPUS, Shape(body_bytes=10, max_tokens=0, unbounded=True)) == OPUS.context_window * 8_000


def test_fast_geography_and_search_are_held_as_requested() -> None:
    plain = strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100))
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, fast=True)) == 2 * plain
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, inference_geo="us")) == plain * 11 // 10
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, web_search=True)) == plain + 100_000_000


@pytest.mark.parametrize(
    "content",
    [
        '[{"type":"image","source":{"type":"url","url":"https://x/y.png"}}]',
        '[{"type":"document","source":{"type":"file","file_id":"f"}}]',
        '[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":""}}]',
        '[{"type":"document","\\u0073ource":{"type":"\\u0075rl","url":"https://x/y.pdf"}}]',
        '[{"type":"document","source":{"type":"base64","media_type":"application\\/pdf","data":""}}]',
    ],
)
def test_content_whose_size_the_body_does_not_show_counts_as_a_full_window(content: str) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}'.encode()
    assert shape(body).unbounded
    assert not shape(b'{"model":"m","messages":[{"role":"user","content":"a plain url or file"}]}').unbounded


def test_context_edit_that_only_clears_is_bounded_and_one_that_compacts_is_not() -> None:
    body = b'{"model":"m","messages":[],"context_management":{"edits":[{"type":"%s","keep":"all"}]}}'
    assert not shape(body % b"clear_thinking_20251015").unbounded
    assert shape(body % b"compact_20260112").unbounded
    assert shape(body % b"\\u0063ompact_20260112").unbounded


@pytest.mark.parametrize("tail", ['"tools":[{"type":"web_search_20250305","name":"web_search"}]', '"thread":"t1"'])
def test_server_tools_and_held_state_count_as_a_full_window(tail: str) -> None:
    assert shape(f'{{"model":"m","messages":[],{tail}}}'.encode()).unbounded


def test_small_image_counts_as_many_tokens() -> None:
    block = '{"type":"image","source":{"type":"base64","media_type":"image%spng","data":"AA=="}}'
    for slash in ("/", "\\/"):
        body = f'{{"model":"m","messages":[{{"role":"user","content":[{block % slash}]}}]}}'.encode()
        assert shape(body).images == 1
        assert strict_nanousd(OPUS, shape(body)) > strict_nanousd(OPUS, Shape(len(body), None))


def test_clamped_max_tokens_replace_those_of_the_body() -> None:
    body = b'{"model":"m","max_tokens":900,"messages":[]}'
    assert shape_of(peek(body), body).max_tokens == 900
    assert shape_of(peek(body), body, max_tokens=5).max_tokens == 5


@st.composite
def fitting(draw: st.DrawFn) -> tuple[str, Shape, Usage]:
    """A request and any usage that it can lead to."""
    model = draw(st.sampled_from(MODELS))
    asked = Shape(
        body_bytes=draw(st.integers(0, 300_000)),
        max_tokens=draw(st.integers(0, 128_000)),
        fast=draw(st.booleans()),
        inference_geo=draw(st.sampled_from([None, "us"])),
    )
    room = min(price_of(model).context_window, asked.body_bytes + PROMPT_OVERHEAD_TOKENS)
    cuts = sorted(draw(st.lists(st.integers(0, room), min_size=4, max_size=4)))
    parts = [high - low for low, high in zip([0, *cuts], cuts, strict=False)]
    tokens = Tokens(parts[0], draw(st.integers(0, asked.max_tokens or 0)), *parts[1:])
    speed = draw(st.sampled_from(["standard", "fast"])) if asked.fast else "standard"
    return model, asked, Usage(model=model, tokens=tokens, speed=speed, inference_geo=asked.inference_geo, final=True)


@given(fitting(), st.sampled_from(ENDPOINTS), st.none() | st.integers(1, 1_000_000))
def test_no_usage_that_fits_the_request_takes_more_of_any_meter_than_the_worst_case(
    case: tuple[str, Shape, Usage], endpoint: tuple[str, str | None, str | None], configured: int | None
) -> None:
    model, asked, usage = case
    backend, profile, region = endpoint
    price = price_of(model)
    wire_model = TABLE.catalogue.wire(model, backend=backend, profile=profile)
    terms = terms_for(backend, wire_model, region=region, configured=configured, price=price)
    usage = msgspec.structs.replace(usage, model=wire_model, web_search_requests=SERVER_TOOL_SEARCHES)
    cost = cost_nanousd(usage, TABLE, at_ms=NOW, fallback_model=model, terms=terms)
    most = worst(price, msgspec.structs.replace(asked, web_search=True), multiplier=terms.multiplier)
    assert all(used <= held for used, held in zip(spent_amounts(usage, cost), most, strict=True))


def test_multiplier_is_held_for_tokens_and_not_for_searches() -> None:
    plain, searching = Shape(body_bytes=1_000, max_tokens=100), Shape(1_000, 100, web_search=True)
    assert strict_nanousd(OPUS, plain, multiplier=12_000) == strict_nanousd(OPUS, plain) * 12 // 10
    assert strict_nanousd(OPUS, searching, multiplier=12_000) == strict_nanousd(OPUS, plain) * 12 // 10 + 100_000_000


def test_worst_case_counts_one_request_and_all_tokens_it_can_have() -> None:
    most = worst(OPUS, Shape(body_bytes=1_000, max_tokens=15_000))
    prompt = 1_000 + PROMPT_OVERHEAD_TOKENS
    assert most == Amounts(prompt * 8_000 + 15_000 * 20_000, 1, 15_000, prompt + 15_000, 1)
    assert worst(OPUS, Shape(10, None, unbounded=True)).total_tokens == OPUS.context_window + OPUS.max_output


def test_counted_prompt_is_held_at_its_count_and_stays_unbounded_when_it_is_read_again() -> None:
    exact = counted(Shape(body_bytes=90_000, max_tokens=10, images=3), 2_000)
    assert worst(OPUS, exact).total_tokens == 2_000 + PROMPT_OVERHEAD_TOKENS + 10
    assert worst(OPUS, counted(Shape(10, 10, unbounded=True), 5)).total_tokens == OPUS.context_window + 10


def test_tightest_shape_is_the_one_of_the_shortest_prompt() -> None:
    by_bytes, pictured, open_ended = Shape(9_000, 10), Shape(100, 10, images=2), Shape(1, 10, unbounded=True)
    assert tightest([by_bytes, open_ended, pictured]) is by_bytes
    assert 100 + 2 * IMAGE_TOKENS_MAX > tightest([pictured, Shape(500, 10, known_tokens=900)]).known_tokens == 900


amounts = st.builds(Amounts, st.integers(0, 10**12), st.just(1), st.integers(0, 10**5), st.integers(0, 10**6))


@given(st.lists(st.tuples(amounts, amounts, st.integers(0, 100)), max_size=20), st.integers(0, 10**13))
def test_limit_on_what_is_expected_is_never_passed_by_more_than_the_stated_overshoot(
    asked: list[tuple[Amounts, Amounts, int]], limit: int
) -> None:
    """Requests are let in while what they expect fits, and then cost any part of their worst case."""
    holds = [(most, Amounts(*map(min, most, expected)), percent) for most, expected, percent in asked]
    admitted: list[tuple[Amounts, Amounts, int]] = []
    for hold in holds:
        if sum(expected.cost for _, expected, _ in admitted) + hold[1].cost <= limit:
            admitted.append(hold)
    spent = sum(most.cost * percent // 100 for most, _, percent in admitted)
    assert spent <= limit + overshoot_max((most, expected) for most, expected, _ in admitted).cost
    assert overshoot_max((most, most) for most, _, _ in admitted) == Amounts(requests=0, active_requests=0)


def test_max_tokens_beyond_the_context_window_holds_no_more_than_the_window() -> None:
    absurd, window = Shape(body_bytes=10, max_tokens=10**30), Shape(body_bytes=10, max_tokens=OPUS.context_window)
    assert strict_nanousd(OPUS, absurd) == strict_nanousd(OPUS, window)
    assert worst(OPUS, absurd).output_tokens == OPUS.context_window


def test_tools_that_the_api_defines_hold_the_instructions_it_adds_for_them() -> None:
    def tokens(*tools: str) -> int:
        fields = '"model":"claude-opus-5-5","max_tokens":0,"messages":[]'
        body = ("{" + fields + ',"tools":[' + ",".join(tools) + "]}").encode()
        return worst(OPUS, shape(body)).total_tokens - len(body)

    own = tokens('{"name":"a","input_schema":{}}')
    defined = tokens('{"type":"bash_20250124","name":"bash"}', '{"type":"text_editor_20250728","name":"e"}')
    assert own == PROMPT_OVERHEAD_TOKENS
    assert defined >= 804 + 245 + 700
    assert tokens(r'{"type":"bash\u005f20250124","name":"bash"}') == defined
