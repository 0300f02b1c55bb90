"""How many agents a run may have and what they may cost, before it has started (W143). Ranges, never promises."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high
from typing import Literal

import msgspec

from runtime.core.model import Tokens

HISTORY_MAX = 20
"""Latest runs that a range is read from."""
ASSUMED_TOKENS = Tokens(input=15_000, output=4_000, cache_read=150_000, cache_write_5m=40_000)
"""Of an agent of whose like nothing is known: a dozen requests in which a few files are read."""

Cost = Callable[[str, Tokens], int | None]
"""List price of a model's tokens in nano-dollars; None: not known."""


class AgentRange(msgspec.Struct, frozen=True, kw_only=True):
    """`unbounded`: nothing but the cap of the run, which is then `high`, bounds it."""

    low: int
    high: int
    unbounded: bool = False
    text: str


class PriceRange(msgspec.Struct, frozen=True, kw_only=True):
    """`basis`: earlier runs of the workflow, agents of the same types, or neither. None: a model has no known price."""

    basis: Literal["history", "typical", "assumed"]
    runs: int = 0
    """Earlier runs that were looked at."""
    tokens_low: int
    tokens_high: int
    low_nanousd: int | None
    high_nanousd: int | None
    unpriced: tuple[str, ...] = ()
    """Models without a known price. Empty though the price is None: which models those will be, only a run can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What one run of the same workflow came to."""

    agents: int
    tokens: int
    cost_nanousd: int | None
    """None: something in it has no known price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many calls of one model and agent type. `model` None: it is not known."""

    model: str | None
    agent_type: str | None
    calls: int


def agent_range(low: int, bound: int | None, cap: int) -> AgentRange:
    """At least `low`; at most `bound`, if there is one; never more than the cap of the run."""
    if bound is None:
        return AgentRange(low=min(low, cap), high=cap, unbounded=True, text=f"unbounded, capped at {cap}")
    high = min(max(bound, low), cap)
    low = min(low, high)
    return AgentRange(low=low, high=high, text=str(high) if low == high else f"{low} to {high}")


def price_by_history(history: Sequence[Earlier], calls: int | None = None) -> PriceRange | None:
    """Least and most of the latest runs, as they were and as each would have been with so many `calls`: other `args`
    may make a run larger, and a dry run may see less than there will be. None: there is none that had agents.
    """
    runs = [run for run in history if run.agents][:HISTORY_MAX]
    if not runs:
        return None
    sizes = [(run, size) for run in runs for size in (run.agents, calls) if size]
    tokens = [_portion(run.tokens, size, run.agents) for run, size in sizes]
    costs = [_portion(run.cost_nanousd, size, run.agents) for run, size in sizes if run.cost_nanousd is not None]
    return PriceRange(
        basis="history",
        runs=len(runs),
        tokens_low=min(tokens),
        tokens_high=max(tokens),
        low_nanousd=min(costs, default=None),
        high_nanousd=max(costs, default=None),
    )


def price_by_list(
    agents: AgentRange, shares: Sequence[Share], typical: Mapping[str | None, Sequence[Tokens]], cost: Cost
) -> PriceRange:
    """Agents by the median tokens of their type by the list price of their model, in the proportions of `shares`."""
    calls = sum(share.calls for share in shares) or 1
    known = {share.agent_type: median_tokens(typical.get(share.agent_type, ())) for share in shares}
    tokens, nanousd = 0, 0
    unpriced: dict[str | None, None] = {}
    for share in shares:
        each = known[share.agent_type] or ASSUMED_TOKENS
        price = None if share.model is None else cost(share.model, each)
        if price is None:
            unpriced[share.model] = None
        tokens += share.calls * each.total
        nanousd += share.calls * (price or 0)
    is_assumed = any(each is None for each in known.values())
    return PriceRange(
        basis="assumed" if is_assumed else "typical",
        tokens_low=_portion(tokens, agents.low, calls),
        tokens_high=_portion(tokens, agents.high, calls),
        low_nanousd=_portion(nanousd, agents.low, calls) if not unpriced else None,
        high_nanousd=_portion(nanousd, agents.high, calls) if not unpriced else None,
        unpriced=tuple(model for model in unpriced if model is not None),
    )


def median_tokens(samples: Iterable[Tokens]) -> Tokens | None:
    """Kind by kind; None of no samples."""
    rows = [msgspec.structs.asdict(tokens) for tokens in samples]
    return Tokens(**{kind: median_high(row[kind] for row in rows) for kind in rows[0]}) if rows else None


def _portion(total: int, part: int, of: int) -> int:
    """Rounded up."""
    return -(-total * part // of)
