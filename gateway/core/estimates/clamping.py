"""The longest answer that still fits the limits: `max_tokens` lowered instead of a refusal. Whether to is not here."""

from collections.abc import Callable, Mapping

import msgspec

from gateway.core.estimates.worst import Shape, output_tokens_max
from gateway.core.money.limits import METERS, Amounts, Meter
from gateway.core.money.prices import Price
from gateway.core.wire.body import Ask
from gateway.core.wire.spans import Edit, Malformed, members, typed

CLAMP_TOKENS_MIN = 1_024
"""An answer shorter than this is cut off before it is of use, so that a refusal serves the client better."""


THINKING_TOKENS_MIN = 1_024
"""Smallest budget for thinking that the API takes."""


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int = 0


def thinking_budget(ask: Ask, body: bytes) -> int:
    """Output tokens that the request reserves for thinking; the API refuses a `max_tokens` that is not above them."""
    span = ask.spans.get("thinking")
    if span is None:
        return 0
    try:
        thinking: _Thinking | None = typed(body[slice(*span)], _Thinking | None, "thinking")
    except Malformed:
        return 0
    return max(0, thinking.budget_tokens) if thinking is not None and thinking.type == "enabled" else 0


def lowered_thinking(body: bytes, ask: Ask, max_tokens: int) -> list[Edit]:
    """Edits that leave thinking half of a lowered `max_tokens`, or none when that is less than the API takes."""
    if thinking_budget(ask, body) < max_tokens:
        return []
    start, end = ask.spans["thinking"]
    if max_tokens // 2 < THINKING_TOKENS_MIN:
        return [(start, end, b'{"type":"disabled"}')]
    budget = members(body[start:end])["budget_tokens"]
    return [(start + budget[0], start + budget[1], str(max_tokens // 2).encode())]


def clamp_floor(ask: Ask, body: bytes) -> int:
    """The least that `max_tokens` may be lowered to."""
    return thinking_budget(ask, body) + CLAMP_TOKENS_MIN


def fitting_max_tokens(
    price: Price, shape: Shape, *, amounts: Callable[[Shape], Amounts], left: Mapping[Meter, int], floor: int
) -> int | None:
    """The largest `max_tokens`, at most that of `shape`, with which `amounts` stay within `left`; None: below `floor`.

    `amounts` is what the limits in `left` guard, worst or expected; it must not fall when `max_tokens` rises. Where
    both kinds apply, the lesser of two answers fits both.
    """

    def fits(max_tokens: int) -> bool:
        needed = amounts(msgspec.structs.replace(shape, max_tokens=max_tokens))
        return all(amount <= left.get(meter, amount) for meter, amount in zip(METERS, needed, strict=True))

    high = output_tokens_max(price, shape)
    if high < floor or not fits(floor):
        return None
    if fits(high):
        return high
    low = floor
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
