"""What a request may cost, before it is sent: a worst case for strict limits and a learned expectation for the rest.

The worst case holds because a token stands for at least one byte of the body (or is known from an earlier answer), the
prompt is never longer than the context window, and output never passes `max_tokens`. How far that reaches: content
whose size the body does not show (URLs, files, PDFs, server-held threads) and tools that the upstream runs count as a
full context window, but an upstream that reads the prompt again after each of its own tool calls may bill more than one
window; a workspace whose default geography is `us` pays 1.1 of what a request that does not say so is held at. Not the
price of a response: `core/pricing.py`.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from gateway.core.body import Ask
from gateway.core.content import Content
from gateway.core.prices import UNIT, Price, Rates
from gateway.core.pricing import SEARCH_SCALE, geo_multiplier, round_up_nanousd
from gateway.core.usage import Tokens, Usage

PROMPT_OVERHEAD_TOKENS = 1_024
"""Tokens the upstream adds that no byte of the body stands for: the system prompt of tool use is 264 to 804, by model
and `tool_choice` (the API's documentation of tool use lists them). Held also on top of a known prompt, whose count has
them already: they may be others the next time."""
IMAGE_TOKENS_MAX = 5_000
"""One image, whatever its bytes: a flat picture compresses to fewer bytes than it has tokens."""
SERVER_TOOL_SEARCHES = 10
"""Web searches held for when the upstream may search."""
MODELS_MAX = 256
"""Models whose behaviour is learnt; the one unused for longest is forgotten."""

RATIO_SCALE = 1_000_000
RATIO_START = 300_000
"""Tokens per million bytes of body before anything is learnt."""
RATIO_WEIGHT = 8
"""The newest observation moves the learnt ratio by an eighth of the difference."""
OUTPUT_EDGES = tuple(int(32 * 2 ** (step / 2)) for step in range(28))
"""Upper edges of the output histogram: half powers of two, 32 to about 370,000 tokens."""
OUTPUT_SAMPLES_MIN = 20
OUTPUT_SAMPLES_MAX = 1_000
"""Past this many the histogram is halved, so that it follows what the model does lately."""
OUTPUT_START = 4_096
"""Output expected before enough was seen."""
OUTPUT_PERCENT = 95

_unshown_keys = frozenset({"thread", "container", "fallbacks", "compaction", "mcp_servers"})
"""Fields by which the upstream reads more than the body, or reads it again."""


class Shape(msgspec.Struct, frozen=True):
    """What of a request its cost depends on."""

    body_bytes: int
    """Each may be a token of the prompt, save those that `known_tokens` stands for."""
    max_tokens: int | None
    images: int = 0
    unbounded: bool = False
    """The prompt may hold content that the body only names."""
    web_search: bool = False
    fast: bool = False
    inference_geo: str | None = None
    known_tokens: int = 0
    """Most that the part of the prompt outside `body_bytes` has, as an earlier answer told (`core/known.py`)."""


def shape_of(ask: Ask, body: bytes, *, max_tokens: int | None = None) -> Shape:
    """The shape of a request as far as its peeked fields tell; `max_tokens` is what a policy clamped it to."""
    return Shape(
        body_bytes=len(body),
        max_tokens=ask.max_tokens if max_tokens is None else max_tokens,
        unbounded=bool(ask.server_tools) or not _unshown_keys.isdisjoint(ask.spans) or _compacts(ask, body),
        web_search=any(tool.startswith("web_search") for tool in ask.server_tools),
        fast=ask.speed == "fast",
        inference_geo=ask.inference_geo,
    )


def bounded(shape: Shape, content: Content) -> Shape:
    """`shape` with what only a look at every message finds; a strict estimate needs it."""
    return msgspec.structs.replace(shape, images=content.images, unbounded=shape.unbounded or content.unbounded)


def _compacts(ask: Ask, body: bytes) -> bool:
    """Context edits that only clear shorten the prompt; one that compacts is a model pass more."""
    start, end = ask.spans.get("context_management", (0, 0))
    return b"compact" in body[start:end] or b"\\u00" in body[start:end]


def strict_nanousd(price: Price, shape: Shape, *, multiplier: int = UNIT) -> int:
    """The most the request can cost (see the module's docstring for how far that reaches).

    `multiplier`: what the dearest upstream it may go to charges of the list price, in ten-thousandths.
    """
    bound = shape.known_tokens + shape.body_bytes + PROMPT_OVERHEAD_TOKENS + shape.images * IMAGE_TOKENS_MAX
    prompt = price.context_window if shape.unbounded else min(price.context_window, bound)
    output = price.max_output if shape.max_tokens is None else max(0, shape.max_tokens)
    candidates = [price.rates_for(prompt, fast=False), price.rates_for(prompt, fast=shape.fast)]
    picousd = max(rates.dearest_input * prompt + rates.output * output for rates in candidates)
    return _priced(price, shape, picousd, multiplier)


def _priced(price: Price, shape: Shape, picousd: int, multiplier: int) -> int:
    searches = SERVER_TOOL_SEARCHES * price.web_search_picousd if shape.web_search else 0
    tokens = picousd * geo_multiplier(price, shape.inference_geo) * multiplier
    return round_up_nanousd(tokens + searches * SEARCH_SCALE)


@dataclass(slots=True)
class _Habits:
    """What one model has done: its tokens per byte and how long its answers are."""

    ratio: int = RATIO_START
    outputs: list[int] = field(default_factory=lambda: [0] * (len(OUTPUT_EDGES) + 1))
    samples: int = 0

    def add_output(self, tokens: int) -> None:
        bucket = next((index for index, edge in enumerate(OUTPUT_EDGES) if tokens <= edge), len(OUTPUT_EDGES))
        self.outputs[bucket] += 1
        self.samples += 1
        if self.samples > OUTPUT_SAMPLES_MAX:
            self.outputs = [count // 2 for count in self.outputs]
            self.samples = sum(self.outputs)

    def usual_output(self) -> int | None:
        """Upper edge of the bucket that 95 of 100 answers stay within; None: longer than any edge."""
        if self.samples < OUTPUT_SAMPLES_MIN:
            return OUTPUT_START
        needed = -(-self.samples * OUTPUT_PERCENT // 100)
        for edge, count in zip(OUTPUT_EDGES, self.outputs, strict=False):
            needed -= count
            if needed <= 0:
                return edge
        return None


class Learned:
    """Expected cost from what models did before: deterministic, bounded, and never above the worst case."""

    def __init__(self) -> None:
        self._habits: OrderedDict[str, _Habits] = OrderedDict()

    def observe(self, price: Price, body_bytes: int, usage: Usage) -> None:
        """Learn from a response whose usage is final."""
        if not usage.final or usage.iterations:
            return
        habits = self._habits_of(price.id)
        if body_bytes > 0 and usage.tokens.prompt > 0:
            seen = usage.tokens.prompt * RATIO_SCALE // body_bytes
            habits.ratio += (seen - habits.ratio) // RATIO_WEIGHT
        habits.add_output(usage.tokens.output)

    def input_tokens(self, price: Price, body_bytes: int) -> int:
        """Prompt tokens that a body of this size likely has."""
        ratio = self._habits_of(price.id).ratio
        return min(price.context_window, -(-body_bytes * ratio // RATIO_SCALE))

    def expected_nanousd(
        self, price: Price, shape: Shape, last: Tokens | None = None, *, multiplier: int = UNIT
    ) -> int:
        """What the request will likely cost. `last`: tokens of the agent's previous response, None at its first."""
        habits = self._habits_of(price.id)
        prompt = self.input_tokens(price, shape.body_bytes)
        ceiling = price.max_output if shape.max_tokens is None else max(0, shape.max_tokens)
        usual = habits.usual_output()
        output = ceiling if usual is None else min(ceiling, usual)
        rates = price.rates_for(prompt, fast=shape.fast)
        picousd = _prompt_picousd(rates, prompt, last) + rates.output * output
        return min(_priced(price, shape, picousd, multiplier), strict_nanousd(price, shape, multiplier=multiplier))

    def _habits_of(self, model: str) -> _Habits:
        habits = self._habits.get(model)
        if habits is None:
            habits = self._habits[model] = _Habits()
            if len(self._habits) > MODELS_MAX:
                self._habits.popitem(last=False)
        else:
            self._habits.move_to_end(model)
        return habits


def _prompt_picousd(rates: Rates, prompt: int, last: Tokens | None) -> int:
    """What the agent had in the cache is read again, the rest is written; an agent that caches nothing pays input."""
    if last is None:
        return prompt * rates.cache_write_5m
    cached = last.cache_read + last.cache_write_5m + last.cache_write_1h
    if not cached:
        return prompt * rates.input
    read = min(prompt, cached)
    write = rates.cache_write_1h if last.cache_write_1h else rates.cache_write_5m
    return read * rates.cache_read + (prompt - read) * write
