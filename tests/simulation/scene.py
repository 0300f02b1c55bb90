"""The play: agents take turns against one store while clocks step and processes die; after each turn all must add up.

What is drawn from the seed is the same in every run. Which commits of a killed store were done is not: that depends on
the disk, and the tally follows what the store says it found.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Limits, Series
from tests.simulation.agents import CENT, LIMITS, Agent, share
from tests.simulation.keepers import Keeper, Store
from tests.simulation.tally import DAY_MS, Ended, Tally

START_MS = 1_795_356_000_000
"""2026-11-22 14:00 UTC."""
HOUR_MS = 3_600_000
TOGETHER_MAX = 60
"""So many agents at most act in one turn."""
TURN_MS_MAX = 2_400_000
COST_MAX = 7_200 * CENT
"""Both by the number of agents: whatever it is, most requests fit, and their turn comes before they expire."""
LATE_MS_MAX = 1_500_000
"""Stores take corrections for half an hour at least."""


class Scene:
    """One simulation; `play` it, then `finish`."""

    def __init__(self, keeper: Keeper, *, seed: int, agents: int) -> None:
        self.counts: Counter[str] = Counter()
        self.tally = Tally(LIMITS, START_MS)
        self._keeper = keeper
        self._random = Random(seed)
        cost_max = COST_MAX // agents
        self._agents = [Agent(number, Random(f"{seed}/{number}"), cost_max) for number in range(agents)]
        self._turn_ms_max = TURN_MS_MAX // agents
        self._clock_ms = START_MS
        self._corrections_wait = False
        self._left: dict[str, Hold] = {}
        """Reservations that nobody waited for; a store that is killed may have kept them and not their release."""
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The one that is open."""
        assert self._store is not None
        return self._store

    async def play(self, turns: int) -> None:
        """So many turns."""
        self._store, _ = await self._keeper.open(Limits(LIMITS), START_MS)
        for _ in range(turns):
            self._step_clock()
            several = self._random.sample(self._agents, min(len(self._agents), self._random.randint(1, TOGETHER_MAX)))
            await asyncio.gather(*(self._act(agent) for agent in several))
            if self._random.random() < 0.3:
                await self._expire()
            if self._keeper.can_be_killed and self._random.random() < 0.01:
                await self._kill()
            await self.check(several)

    async def finish(self) -> None:
        """Everybody stops; then nothing is held, every sum agrees, and so it is after another start."""
        for agent in self._agents:
            if agent.running is not None and agent.random.random() < 0.9:
                self._settle(agent, agent.running, twice=False)
        self._clock_ms = max(self._clock_ms, self.tally.now_ms) + HOUR_MS
        while await self._expire():
            pass
        assert not self.tally.open, "held at rest"
        await self.check(self._agents)
        await self._compare_sums()
        if self._keeper.can_be_killed:
            await self.store.close()
            self._store, orphans = await self._keeper.open(Limits(LIMITS), self._clock_ms)
            assert not orphans, "something was held at rest"
            await self._compare_sums()
        await self.store.close()
        ends = (self.tally.settled, self.tally.released, self.tally.expired, self.tally.corrected)
        assert sum(map(len, ends)) == len({id for end in ends for id in end}), "a reservation ended twice"
        assert sum(map(len, ends)) == self.counts["reserved"], "a reservation has no end"
        self._check_rolling()

    async def check(self, several: Sequence[Agent]) -> None:
        """What must be true after every turn, of every limit that one of these agents met."""
        tally = self.tally
        tally.at(self._clock_ms)
        accounts = {agent.accounts for agent in several}
        shown = [await self.store.standing(each, self._clock_ms) for each in sorted(accounts)]
        for view in {view for views in shown for view in views}:
            row, account = view.row, view.series.account
            assert row is not None and row.max is not None
            if row.meter != "cost":
                continue
            held = (tally.held_worst if row.strict else tally.held_expected)[account]
            assert view.held == held, f"{row.id} of {account} shows {view.held} held, not {held}"
            if view.series.window in ("total", "daily"):
                used = tally.used_in(account, view.series.window)
                assert view.used == used, f"{row.id} of {account} shows {view.used} used, not {used}"
            if row.strict:
                assert view.used + held <= row.max, f"{row.id} of {account} was passed"
        if self._keeper.hears_of_every_end:
            assert self.store.held_total() == sum(tally.charge(hold) for hold in tally.open.values())

    # ------------------------------------------------------------------------------------------------ what agents do

    async def _act(self, agent: Agent) -> None:
        move = agent.next_move()
        self.counts[move] += 1
        running = agent.running
        if move == "report late":
            self._report_late(agent)
        elif running is None:
            await self._reserve(agent, leaves=move == "leave while reserving")
        elif running.deadline_ms <= self._clock_ms:
            await self._expire()
        elif move == "extend":
            await self._extend(agent, running)
        elif move in ("settle", "settle twice"):
            self._settle(agent, running, twice=move == "settle twice")
        elif move == "release":
            self.store.release(running.id)
            self.tally.release(running.id)
            agent.running = None

    async def _reserve(self, agent: Agent, *, leaves: bool) -> None:
        hold = agent.request(self._clock_ms)
        asked = asyncio.create_task(self._ask(hold))
        if leaves:
            await asyncio.sleep(0)
            asked.cancel()
        await asyncio.wait([asked])
        if asked.cancelled():
            self._left[hold.id] = hold
        if asked.cancelled() or not asked.result():
            return
        self._reserved(hold)
        agent.running = hold

    async def _ask(self, hold: Hold) -> bool:
        try:
            await self.store.reserve(hold)
        except Exhausted:
            self.counts["refused"] += 1
            return False
        return True

    def _reserved(self, hold: Hold) -> None:
        self.counts["reserved"] += 1
        self.tally.reserve(hold)

    async def _extend(self, agent: Agent, hold: Hold) -> None:
        more = agent.amounts()._replace(requests=0, active_requests=0)
        worst, expected = hold.worst.plus(more), hold.expected.plus(more)
        try:
            extended = await self.store.extend(hold.id, worst, expected, self._clock_ms)
        except Exhausted:
            self._settle(agent, hold, twice=False)
            return
        assert extended == (hold.id in self.tally.open)
        if extended:
            self.counts["extended"] += 1
            agent.running = Hold(
                *(hold.id, hold.accounts, hold.model, hold.backends, worst, expected, hold.created_ms, hold.deadline_ms)
            )
            self.tally.extend(agent.running)

    def _settle(self, agent: Agent, hold: Hold, *, twice: bool) -> None:
        spent = share(hold.worst, agent.random.choice((0, 10, 50, 99, 100)))
        backend = agent.random.choice(hold.backends)
        self.tally.at(self._clock_ms)
        for amounts in (spent, hold.worst)[: 1 + twice]:
            self.store.settle(hold.id, amounts, backend, self._clock_ms)
        self.tally.settle(hold.id, spent)
        agent.running = None

    def _report_late(self, agent: Agent) -> None:
        id = agent.overdue.pop()
        ended = self.tally.expired[id]
        if self.tally.now_ms - ended.at_ms > LATE_MS_MAX:
            return
        spent = share(ended.hold.worst, agent.random.choice((0, 30, 100)))
        self.store.settle(id, spent, agent.random.choice(ended.hold.backends), self._clock_ms)
        self.tally.correct(id, spent)
        self._corrections_wait = True

    # ---------------------------------------------------------------------------------------------- what befalls them

    def _step_clock(self) -> None:
        draw = self._random.random()
        if draw < 0.02:
            self._clock_ms -= self._random.choice((90_000, HOUR_MS, 30 * HOUR_MS))
        elif draw < 0.05:
            self._clock_ms += self._random.choice((HOUR_MS, 11 * HOUR_MS, 3 * DAY_MS))
        else:
            self._clock_ms += self._random.randint(0, self._turn_ms_max)

    async def _expire(self) -> int:
        expired = await self.store.expire(self._clock_ms)
        self.tally.at(self._clock_ms)
        for each in expired:
            self.counts["expired"] += 1
            hold = self.tally.open[each.id]
            self.tally.expire(each.id, each.charge)
            agent = self._agents[int(each.id.split(".")[0])]
            agent.overdue.append(each.id)
            if agent.running is not None and agent.running.id == hold.id:
                agent.running = None
        return len(expired)

    async def _kill(self) -> None:
        """In the middle of reservations; what the next start finds open is spend."""
        self.counts["killed"] += 1
        if self._corrections_wait:
            await self.store.flush()
            self._corrections_wait = False
        store = self.store
        asking = {agent.number: agent.request(self._clock_ms) for agent in self._random.sample(self._agents, 3)}
        asked = [asyncio.create_task(store.reserve(hold)) for hold in asking.values()]
        await asyncio.sleep(0)
        await self._keeper.kill(store)
        await asyncio.gather(*asked, return_exceptions=True)
        self._clock_ms = max(self._clock_ms, self.tally.now_ms)
        self.tally.at(self._clock_ms)
        self._store, orphans = await self._keeper.open(Limits(LIMITS), self._clock_ms)
        self._left |= {hold.id: hold for hold in asking.values()}
        for each in orphans:
            if each.id in self._left:
                self._reserved(self._left[each.id])
            (self.tally.expire if each.id in self.tally.open else self.tally.lose)(each.id, each.charge)
        assert not self.tally.open, "a hold that was promised is gone"
        self._left.clear()
        for agent in self._agents:
            agent.running = None
            agent.overdue.clear()

    # ------------------------------------------------------------------------------------------------------ the sums

    async def _compare_sums(self) -> None:
        accounts = sorted({account for agent in self._agents for account in agent.accounts})
        used = await self.store.used([Series(account) for account in accounts], self._clock_ms)
        wrong = [
            f"{account}: {there} is not {self.tally.used[account]}"
            for account, there in zip(accounts, used, strict=True)
            if there != self.tally.used[account]
        ]
        assert not wrong, f"usage differs from the tally: {wrong[:5]}"

    def _check_rolling(self) -> None:
        """No five hours of team 3 ever saw more than its limit."""
        most = next(row.max for row in LIMITS if row.id == "strict rolling")
        ends: list[Ended] = [*self.tally.settled.values(), *self.tally.expired.values(), *self.tally.corrected.values()]
        spent = sorted((end.at_ms, end.cost) for end in ends if "team:3" in end.hold.accounts)
        first, within = 0, 0
        for at_ms, cost in spent:
            within += cost
            while spent[first][0] <= at_ms - 5 * HOUR_MS:
                within -= spent[first][1]
                first += 1
            assert most is not None and within <= most, "more than the limit in five hours"
