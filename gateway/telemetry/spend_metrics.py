"""What requests hold and cost, what limits did about it, and how good the estimates were. One part of `Metrics`.

Which budget is how full is read live: `live.py`.
"""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.context import RequestContext
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import LimitRow, Series, kind_of
from gateway.core.money.prices import Price
from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.core.wire.usage import Tokens, Usage
from gateway.errors import Reason
from gateway.telemetry.families import NONE, Families, Labels, flag

PICOUSD_PER_USD = 1_000_000_000_000
RATIO_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.1, 1.25, 1.5, 2, 5)
HOLD_EXHAUSTED = "hold_exhausted"
DRAIN_OUTCOMES = ("usage", "floor")

Place = tuple[str, str, str]
"""Model, team and type of agent."""


class SpendMetrics:
    """Fed by `Metrics`."""

    def __init__(self, families: Families, labels: Labels) -> None:
        self._labels = labels
        self._held = _Held(self._place)
        families.registry.register(self._held)
        self._cost = families.counters("cost_usd", "Settled cost in dollars.", ("model", "team", "agent_type"))
        self._saved = families.counters(
            "cache_saved_usd",
            "What reading from the cache cost less than plain input, at list price.",
            ("model", "team"),
        )
        self._premium = families.counters(
            "cache_premium_usd", "What writing the cache cost more than plain input, at list price.", ("model", "team")
        )
        self._estimate_ratio = families.histograms(
            "estimate_ratio", "Settled cost by the expected cost that was held.", ("model",), RATIO_BUCKETS
        )
        self._hold_ratio = families.histograms(
            "hold_ratio", "Settled cost by the worst case that was held for a strict limit.", ("model",), RATIO_BUCKETS
        )
        self._define_limits(families)
        self._define_ends(families)

    def _define_limits(self, families: Families) -> None:
        where = ("account", "meter", "window")
        self._refusals = families.counters("limit_refusals", "Requests that a limit refused.", where)
        self._warnings = families.counters(
            "limit_warnings", "Requests that came when a limit was used up to a mark.", where
        )
        self._overshoot = families.counters(
            "overshoot_usd", "Dollars by which settlements went past a limit.", ("strict",)
        )
        for strict in (True, False):
            self._overshoot[flag(strict),].inc(0)
        self._clamped = families.counter("max_tokens_clamped", "Requests whose max_tokens was lowered to fit a limit.")

    def _define_ends(self, families: Families) -> None:
        self._expired = families.counter("holds_expired", "Holds that ended at their deadline, at the held amount.")
        self._extended = families.counter("holds_extended", "Holds that were raised while an answer ran.")
        self._streams_ended = families.counters("streams_ended", "Answers that the gateway ended early.", ("reason",))
        self._streams_ended[HOLD_EXHAUSTED,].inc(0)
        self._drains = families.counters(
            "drains", "Answers whose client left, by what their bill is made of.", ("outcome",)
        )
        for outcome in DRAIN_OUTCOMES:
            self._drains[outcome,].inc(0)

    def held(self, ctx: RequestContext) -> None:
        """Show what this request holds, at each moment until it has ended."""
        self._held.add(ctx)

    def request_ended(self, ctx: RequestContext, model: str) -> None:
        """Count what a request cost, and what its usage, its hold and its limits tell."""
        self._held.requests.pop(ctx.id, None)
        if ctx.cost_nanousd:
            _, team, agent_type = self._place(ctx)
            self._cost[model, team, agent_type].inc(ctx.cost_nanousd / NANOUSD_PER_USD)
        if ctx.hold is not None:
            self._count_hold(ctx)
        if ctx.usage is not None and ctx.usage.final and not ctx.cost_estimated and ctx.price is not None:
            self._count_cache(ctx.usage, ctx.price, (model, self._labels.team(ctx.principal)))
            if ctx.hold is not None:
                self._compare(ctx, ctx.hold, model)

    def _count_hold(self, ctx: RequestContext) -> None:
        for view in ctx.limits:
            if view.row is not None and view.row.warn_at and view.percent >= view.row.warn_at[0]:
                self._warnings[_limit_labels(view.series)].inc()
        if ctx.clamped_from is not None:
            self._clamped.inc()
        if ctx.extensions:
            self._extended.inc(ctx.extensions)
        if ctx.cut:
            self._streams_ended[HOLD_EXHAUSTED,].inc()
        if ctx.reason is Reason.CLIENT_GONE and ctx.dispatched:
            self._drains["floor" if ctx.cost_estimated else "usage",].inc()

    def _compare(self, ctx: RequestContext, hold: Hold, model: str) -> None:
        """With the worst case only where a strict limit asked for one: else the hold is of the expected cost twice."""
        settled = ctx.cost_nanousd - ctx.lost_nanousd
        if hold.expected.cost > 0:
            self._estimate_ratio[model,].observe(settled / hold.expected.cost)
        strict = any(view.row is not None and view.row.strict and view.row.guards for view in ctx.limits)
        if strict and hold.worst.cost > 0:
            self._hold_ratio[model,].observe(settled / hold.worst.cost)

    def limit_refused(self, series: Series) -> None:
        """Count a request that a limit refused."""
        self._refusals[_limit_labels(series)].inc()

    def overshot(self, limit: LimitRow, amount: int) -> None:
        """Count how far a settlement went past a limit; those that only warn, and those on counts, are left out."""
        if limit.meter == "cost" and limit.guards:
            self._overshoot[flag(limit.strict),].inc(amount / NANOUSD_PER_USD)

    def hold_expired(self, count: int) -> None:
        """Count holds that ended at their deadline."""
        self._expired.inc(count)

    def _place(self, ctx: RequestContext) -> Place:
        model = self._labels.model(ctx.ask.model) if ctx.ask is not None else NONE
        return model, self._labels.team(ctx.principal), self._labels.agent_type(ctx.lineage)

    def _count_cache(self, usage: Usage, price: Price, labels: tuple[str, str]) -> None:
        """Passes of other models than the one that was asked are left out: their price is not at hand."""
        if usage.refused_empty:
            return
        own = [each.tokens for each in usage.iterations if each.model in (None, usage.model)]
        for tokens in own if usage.iterations else [usage.tokens]:
            saved, premium = _cache_picousd(tokens, price, usage)
            if saved > 0:
                self._saved[labels].inc(saved / PICOUSD_PER_USD)
            if premium > 0:
                self._premium[labels].inc(premium / PICOUSD_PER_USD)


def _cache_picousd(tokens: Tokens, price: Price, usage: Usage) -> tuple[int, int]:
    """Against plain input: what reads cost less, and what writes cost more."""
    rates = price.rates_for(tokens.prompt, fast=usage.speed == "fast")
    reads, premium = tokens.cache_read, 0
    if usage.fallback_credit_redeemed:
        reads += tokens.cache_write_5m + tokens.cache_write_1h
    else:
        premium += tokens.cache_write_5m * (rates.cache_write_5m - rates.input)
        premium += tokens.cache_write_1h * (rates.cache_write_1h - rates.input)
    return reads * (rates.input - rates.cache_read), premium


def _limit_labels(series: Series) -> tuple[str, str, str]:
    return kind_of(series.account), series.meter, series.window


class _Held(Collector):
    """Dollars held by the requests of this process, read from their contexts when somebody looks."""

    def __init__(self, place: Callable[[RequestContext], Place]) -> None:
        self.requests: dict[str, tuple[Place, RequestContext]] = {}
        self._place = place
        self._places: dict[Place, None] = {}
        """Those that ever held anything: they stay, at 0 when nothing is held."""

    def add(self, ctx: RequestContext) -> None:
        """A request holds from now on, until it is taken out of `requests`."""
        place = self._place(ctx)
        self.requests[ctx.id] = place, ctx
        self._places[place] = None

    def collect(self) -> Iterator[Metric]:
        """What they hold at this moment."""
        totals = dict.fromkeys(self._places, 0)
        for place, ctx in self.requests.values():
            totals[place] += 0 if ctx.hold is None else ctx.hold.worst.cost
        held = GaugeMetricFamily(
            "ringfence_held_usd", "Dollars held and not settled yet.", labels=("model", "team", "agent_type")
        )
        for place, nanousd in totals.items():
            held.add_metric(place, nanousd / NANOUSD_PER_USD)
        yield held
