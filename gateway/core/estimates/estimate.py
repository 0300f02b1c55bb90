"""What a request likely uses, learned from answers, and by what steps its hold grows while it streams.

Limits that are not strict hold this; a strict one holds the most it can use: `worst.py`. An expectation never
passes the worst case, and is no promise: answers may be longer. Requests that run at once can then take such a limit
past its maximum, at most by the sum of what each can use beyond its expectation: nothing is let in once it is passed,
and each step by which a hold grows is checked as a new request is. Not the price of a response: `money/pricing.py`.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from gateway.core.estimates.worst import Shape, output_tokens_max, priced_nanousd, prompt_tokens_max, strict_nanousd
from gateway.core.money.limits import Amounts
from gateway.core.money.prices import UNIT, Price, Rates
from gateway.core.wire.usage import Tokens, Usage

MODELS_MAX = 256
"""Models whose behaviour is learnt; the one unused for longest is forgotten."""
AGENT_TYPES_MAX = 1_024
"""Pairs of model and agent type whose answers are learnt; clients choose the names."""

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

STEP_TOKENS_MIN = 1_024
STEP_DIVISOR = 4
"""A step is a quarter of what has streamed, so that a long answer needs few of them."""
COVERED_CHARS_PER_TOKEN = 2
"""Of a running answer. Prose has about four characters per token, code three, hex, base64 and most other scripts two
or fewer. Taken too low, a hold is extended before it must be and holds more than the answer needs, which its settlement
gives back; taken too high, it is extended too late, and that is what a limit is passed by. So it is low. Thinking that
is not shown has no characters at all: its tokens are seen only when the answer ends."""


class Agent(NamedTuple):
    """What is known of the agent that asks."""

    last: Tokens | None = None
    """Of its previous response; None at its first."""
    type: str | None = None


ANYBODY = Agent()


@dataclass(slots=True)
class _Outputs:
    """How long answers were: a histogram."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(OUTPUT_EDGES) + 1))
    samples: int = 0

    def add(self, tokens: int) -> None:
        bucket = next((index for index, edge in enumerate(OUTPUT_EDGES) if tokens <= edge), len(OUTPUT_EDGES))
        self.counts[bucket] += 1
        self.samples += 1
        if self.samples > OUTPUT_SAMPLES_MAX:
            self.counts = [count // 2 for count in self.counts]
            self.samples = sum(self.counts)

    def usual(self) -> int | None:
        """Upper edge of the bucket that 95 of 100 answers stay within; None: longer than any edge."""
        needed = -(-self.samples * OUTPUT_PERCENT // 100)
        for edge, count in zip(OUTPUT_EDGES, self.counts, strict=False):
            needed -= count
            if needed <= 0:
                return edge
        return None


@dataclass(slots=True)
class _Habits:
    """What one model has done: its tokens per byte and how long its answers are."""

    ratio: int = RATIO_START
    outputs: _Outputs = field(default_factory=_Outputs)


class Learned:
    """Expected use from what models did before: deterministic, bounded, and never above the worst case."""

    def __init__(self) -> None:
        self._habits: OrderedDict[str, _Habits] = OrderedDict()
        self._by_type: OrderedDict[tuple[str, str], _Outputs] = OrderedDict()

    def observe(self, price: Price, body_bytes: int, usage: Usage, *, agent_type: str | None = None) -> None:
        """Learn from a response whose usage is final."""
        if not usage.final or usage.iterations:
            return
        habits = self._habits_of(price.id)
        if body_bytes > 0 and usage.tokens.prompt > 0:
            seen = usage.tokens.prompt * RATIO_SCALE // body_bytes
            habits.ratio += (seen - habits.ratio) // RATIO_WEIGHT
        habits.outputs.add(usage.tokens.output)
        if agent_type is not None:
            outputs = self._by_type.setdefault((price.id, agent_type), _Outputs())
            outputs.add(usage.tokens.output)
            self._by_type.move_to_end((price.id, agent_type))
            if len(self._by_type) > AGENT_TYPES_MAX:
                self._by_type.popitem(last=False)

    def input_tokens(self, price: Price, body_bytes: int) -> int:
        """Prompt tokens that a body of this size likely has."""
        ratio = self._habits_of(price.id).ratio
        return min(price.context_window, -(-body_bytes * ratio // RATIO_SCALE))

    def output_tokens(self, price: Price, shape: Shape, *, agent_type: str | None = None) -> int:
        """What 95 of 100 answers to agents of this type stay within, else to any; at most `max_tokens`."""
        ceiling = output_tokens_max(price, shape)
        outputs = self._by_type.get((price.id, agent_type)) if agent_type is not None else None
        if outputs is None or outputs.samples < OUTPUT_SAMPLES_MIN:
            outputs = self._habits_of(price.id).outputs
        usual = outputs.usual() if outputs.samples >= OUTPUT_SAMPLES_MIN else OUTPUT_START
        return ceiling if usual is None else min(ceiling, usual)

    def expected(self, price: Price, shape: Shape, agent: Agent = ANYBODY, *, multiplier: int = UNIT) -> Amounts:
        """What the request will likely use."""
        prompt = shape.known_tokens + self.input_tokens(price, shape.body_bytes)
        prompt = min(prompt, prompt_tokens_max(price, shape))
        output = self.output_tokens(price, shape, agent_type=agent.type)
        rates = price.rates_for(prompt, fast=shape.fast)
        picousd = _prompt_picousd(rates, prompt, agent.last) + rates.output * output
        cost = priced_nanousd(price, shape, picousd, multiplier)
        return Amounts(
            cost=min(cost, strict_nanousd(price, shape, multiplier=multiplier)),
            output_tokens=output,
            total_tokens=prompt + output,
        )

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


def next_step(price: Price, shape: Shape, *, held: Amounts, seen_tokens: int, multiplier: int = UNIT) -> Amounts:
    """The expected amounts of a running answer, of which `seen_tokens` have streamed and for which `held` were held.

    Only the output grows; what was expected of the prompt stays. At most the answer's longest, so that a stream needs
    no step after it.
    """
    wanted = seen_tokens + max(STEP_TOKENS_MIN, seen_tokens // STEP_DIVISOR)
    more = max(0, min(output_tokens_max(price, shape), wanted) - held.output_tokens)
    prompt = held.total_tokens - held.output_tokens
    picousd = price.rates_for(prompt, fast=shape.fast).output * more
    searches_held = msgspec.structs.replace(shape, web_search=False)
    return held._replace(
        cost=held.cost + priced_nanousd(price, searches_held, picousd, multiplier),
        output_tokens=held.output_tokens + more,
        total_tokens=held.total_tokens + more,
    )


def covered_chars(output_tokens: int) -> int:
    """Characters of an answer after which a hold for so many tokens of output may be used up."""
    return output_tokens * COVERED_CHARS_PER_TOKEN


def seen_tokens(output_chars: int) -> int:
    """Tokens that a running answer of so many characters is taken to have."""
    return -(-output_chars // COVERED_CHARS_PER_TOKEN)
