"""The longest answer that fits: not a token more, and none that is too short to be of use."""

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.estimates.clamping import (
    CLAMP_TOKENS_MIN,
    clamp_floor,
    fitting_max_tokens,
    lowered_thinking,
    thinking_budget,
)
from gateway.core.estimates.estimate import Learned
from gateway.core.estimates.worst import Shape, strict_nanousd, worst
from gateway.core.money.limits import Meter
from gateway.core.wire.body import peek
from gateway.core.wire.spans import splice
from gateway.core.wire.usage import Usage
from tests.gateway.core.estimates.test_worst import OPUS, fitting, price_of

ASKED = Shape(body_bytes=1_000, max_tokens=32_000)


def at(max_tokens: int, shape: Shape = ASKED) -> Shape:
    return msgspec.structs.replace(shape, max_tokens=max_tokens)


def fit(left: dict[Meter, int], shape: Shape = ASKED, floor: int = CLAMP_TOKENS_MIN) -> int | None:
    return fitting_max_tokens(OPUS, shape, amounts=partial(worst, OPUS), left=left, floor=floor)


def test_answer_is_as_long_as_what_is_left_pays_for() -> None:
    left = strict_nanousd(OPUS, at(5_000))
    assert fit({"cost": left}) == 5_000
    assert fit({"cost": left - 1}) == 4_999


def test_request_that_fits_keeps_its_answer_and_one_without_a_length_gets_the_models() -> None:
    assert fit({"cost": 10**12}) == 32_000
    assert fit({}) == 32_000
    assert fit({}, Shape(1_000, None)) == OPUS.max_output


def test_answer_shorter_than_the_floor_does_not_fit() -> None:
    left: dict[Meter, int] = {"cost": strict_nanousd(OPUS, at(CLAMP_TOKENS_MIN))}
    assert fit(left) == CLAMP_TOKENS_MIN
    assert fit({"cost": left["cost"] - 1}) is None
    assert fit(left, floor=CLAMP_TOKENS_MIN + 1) is None
    assert fit({}, at(CLAMP_TOKENS_MIN - 1)) is None


def test_every_meter_with_a_limit_counts_and_no_other() -> None:
    most = worst(OPUS, at(5_000))
    assert fit({"output_tokens": 4_000, "cost": most.cost}) == 4_000
    assert fit({"total_tokens": most.total_tokens - 2_000}) == 3_000
    assert fit({"requests": 0}) is None


def test_expectation_is_lowered_only_where_the_answer_is_what_makes_it_dear() -> None:
    learned = Learned()
    usual = learned.expected(OPUS, ASKED).cost
    amounts = partial(learned.expected, OPUS)
    assert fitting_max_tokens(OPUS, ASKED, amounts=amounts, left={"cost": usual}, floor=1) == 32_000
    lowered = fitting_max_tokens(OPUS, ASKED, amounts=amounts, left={"cost": usual - 1}, floor=1)
    assert lowered is not None and lowered < 4_096


@given(fitting(), st.integers(1, 1_000_000), st.integers(0, 10**11))
def test_fitting_answer_is_the_longest_that_does(case: tuple[str, Shape, Usage], multiplier: int, left: int) -> None:
    model, asked, _ = case
    price = price_of(model)

    def cost(max_tokens: int) -> int:
        return strict_nanousd(price, at(max_tokens, asked), multiplier=multiplier)

    most = partial(worst, price, multiplier=multiplier)
    found = fitting_max_tokens(price, asked, amounts=most, left={"cost": left}, floor=0)
    if found is None:
        assert cost(0) > left
    else:
        assert cost(found) <= left
        assert found == asked.max_tokens or cost(found + 1) > left


def asking(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [], **fields}).encode()


@pytest.mark.parametrize(
    ("thinking", "budget"),
    [
        ({"type": "enabled", "budget_tokens": 31_999}, 31_999),
        ({"type": "adaptive"}, 0),
        ({"type": "disabled", "budget_tokens": 9}, 0),
        ({"type": "enabled", "budget_tokens": "many"}, 0),
        ({"type": "enabled", "budget_tokens": -5}, 0),
        (None, 0),
    ],
)
def test_thinking_keeps_its_budget_and_room_for_an_answer(thinking: Any, budget: int) -> None:
    body = asking(thinking=thinking)
    assert thinking_budget(peek(body), body) == budget
    assert clamp_floor(peek(body), body) == budget + CLAMP_TOKENS_MIN


def test_request_without_thinking_needs_room_for_an_answer_alone() -> None:
    body = asking()
    assert (thinking_budget(peek(body), body), clamp_floor(peek(body), body)) == (0, CLAMP_TOKENS_MIN)


@pytest.mark.parametrize(
    ("thinking", "most", "left"),
    [
        ({"type": "enabled", "budget_tokens": 31_999}, 4_096, {"type": "enabled", "budget_tokens": 2_048}),
        ({"type": "enabled", "budget_tokens": 4_096}, 4_096, {"type": "enabled", "budget_tokens": 2_048}),
        ({"type": "enabled", "budget_tokens": 4_095}, 4_096, None),
        (
            {"budget_tokens": 9_000, "type": "enabled", "display": "omitted"},
            2_048,
            {"budget_tokens": 1_024, "type": "enabled", "display": "omitted"},
        ),
        ({"type": "enabled", "budget_tokens": 9_000}, 2_047, {"type": "disabled"}),
        ({"type": "adaptive"}, 10, None),
        (None, 10, None),
    ],
)
def test_thinking_is_lowered_with_the_answer(thinking: Any, most: int, left: Any) -> None:
    body = json.dumps({"model": "m", "max_tokens": 32_000, "messages": [], "thinking": thinking}).encode()
    found = json.loads(splice(body, lowered_thinking(body, peek(body), most)))["thinking"]
    assert found == (thinking if left is None else left)
