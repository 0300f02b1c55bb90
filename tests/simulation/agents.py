"""What one agent does next, drawn from its own seed: how dear, how long, and how its request ends. No store here."""

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow

Move = Literal["reserve", "leave while reserving", "extend", "settle", "settle twice", "release", "hang", "report late"]

MODELS = ("opus-5", "sonnet-5", "haiku-5")
BACKENDS = (("anthropic",), ("bedrock",), ("anthropic", "bedrock"))
TEAMS = 5
USERS = 40
SECONDS_HELD = 300
CENT = 10_000_000
LIMITS = (
    LimitRow("team:0", 400 * CENT, "daily", strict=True, id="strict day"),
    LimitRow("team:1", 9_000 * CENT, strict=True, id="strict total"),
    LimitRow("team:2", 900 * CENT, "daily", per="user", strict=True, id="strict seats"),
    LimitRow("org", 9_000 * CENT, "daily", id="expected day"),
    LimitRow("org", 2_500 * CENT, per="session", id="expected sessions"),
    LimitRow("team:3", 500 * CENT, "rolling 5h", strict=True, id="strict rolling"),
    LimitRow("team:4", 200, "rolling 10m", "requests", id="pace"),
    LimitRow("team:4", 20, meter="active_requests", id="at once"),
)


@dataclass(slots=True)
class Agent:
    """`running` is its hold, `overdue` those that it let expire."""

    number: int
    random: Random
    cost_max: int
    """Of one request."""
    running: Hold | None = None
    overdue: list[str] = field(default_factory=list[str])
    requests: int = 0

    @property
    def accounts(self) -> tuple[str, ...]:
        """Its agent, session (three agents share one), user and team."""
        session = self.number // 3
        user = session % USERS
        return "org", f"team:{user % TEAMS}", f"user:{user}", f"session:{session}", f"agent:{session}/{self.number}"

    def next_move(self) -> Move:
        """What it does when it is its turn."""
        if self.overdue and self.random.random() < 0.3:
            return "report late"
        if self.running is None:
            return "leave while reserving" if self.random.random() < 0.05 else "reserve"
        moves: tuple[Move, ...] = ("extend", "settle", "settle twice", "release", "hang")
        return self.random.choices(moves, (30, 40, 5, 10, 5))[0]

    def request(self, now_ms: int) -> Hold:
        """Another request."""
        self.requests += 1
        worst = self.amounts()
        expected = share(worst, self.random.randint(5, 60))
        id = f"{self.number}.{self.requests}"
        model, backends = self.random.choice(MODELS), self.random.choice(BACKENDS)
        return Hold(id, self.accounts, model, backends, worst, expected, now_ms, now_ms + SECONDS_HELD * 1_000)

    def amounts(self) -> Amounts:
        """Of one request."""
        random = self.random
        return Amounts(random.randint(0, self.cost_max), 1, random.randint(0, 9_000), random.randint(0, 90_000))


def share(whole: Amounts, percent: int) -> Amounts:
    """A part of the amounts of a request."""
    cost, _, output_tokens, total_tokens, _ = (amount * percent // 100 for amount in whole)
    return Amounts(cost, 1, output_tokens, total_tokens)
