"""A storm: a crowd of clients that ask at once of one gateway or several, their upstream, and a watch on the caps.

Answers pause before each step until `Storm.go_on`, so that all the clients are there before the first answer ends, and
clients may leave, fail or come again at any step. What each of them does is drawn from a seed. No test lives here.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import aiohttp

from tests.support.gateway import CREDENTIAL, OPERATOR, request_body
from tests.support.process import Served, run_cli
from tests.support.upstream import Answer, Received, error_answer, error_event, stream, text_block

STEPS = 4
"""Pauses of an answer."""
LOOKS = 3
"""At the caps, after each step."""
TRIES = 3
"""How often a client that comes again asks in all."""
MAX_TOKENS = 15_000
INPUT_NANOUSD, OUTPUT_NANOUSD = 4_000, 20_000
PROMPT_TOKENS = 100
COST_NANOUSD = PROMPT_TOKENS * INPUT_NANOUSD + MAX_TOKENS * OUTPUT_NANOUSD
"""Of a whole answer, which is as long as it may be: thirty cents."""
GONE = 0
"""In place of a status: the client left, or the gateway did."""

Act = Callable[[], Awaitable[object]]
"""Something to be done at some moment, such as a look at the caps."""


def open_crowd() -> aiohttp.ClientSession:
    """Any number at once, none of whom is in a hurry: of those who come together most wait, to be let in at all."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


@dataclass(frozen=True, slots=True)
class Caller:
    """One client, and what it will do. Steps are counted from the beginning of the storm."""

    name: str
    session: str
    secret: str = CREDENTIAL
    leaves_at: int | None = None
    """Step at which it goes, whether it has been answered or not."""
    comes_again_at: int | None = None
    """Step from which on it asks again after a 429 or 529."""


def steady(number: int) -> Caller:
    """A client that stays and takes a refusal for an answer."""
    return Caller(str(number), f"session-{number}")


def fickle(number: int) -> Caller:
    """Every third one leaves, every other one comes again."""
    dice = Random(f"caller {number}")
    leaves = dice.randrange(STEPS + 1) if dice.random() < 0.3 else None
    again = dice.randrange(STEPS + 1) if dice.random() < 0.5 else None
    return Caller(str(number), f"session-{number}", leaves_at=leaves, comes_again_at=again)


def stubborn(number: int) -> Caller:
    """A client that comes again and again."""
    return Caller(str(number), f"session-{number}", comes_again_at=Random(f"caller {number}").randrange(STEPS + 1))


@dataclass
class Storm:
    """What is common to all its parts. `answer` is the upstream's responder."""

    failing: float = 0.0
    """Share of answers that the upstream spoils."""
    paces: list[asyncio.Event] = field(default_factory=lambda: [asyncio.Event() for _ in range(STEPS)])
    seen: Counter[int] = field(default_factory=Counter[int])
    """Statuses that clients were given, one for each request."""
    refusals: list[str] = field(default_factory=list[str])
    """Bodies of all that was not a 200."""
    peaks: Counter[str] = field(default_factory=Counter[str])
    """The most that was seen used and held together, by account."""
    _arrived: int = 0
    _met: set[str] = field(default_factory=set[str])
    """Clients whose first request has been decided."""

    def go_on(self, step: int) -> None:
        """Let every answer take its next step."""
        self.paces[step].set()

    def answer(self, received: Received) -> Answer:
        """As long as the request allows, in steps; or spoilt."""
        self._arrived += 1
        self._met.add(received.json()["messages"][0]["content"])
        dice = Random(f"answer {self._arrived}")
        usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": received.json()["max_tokens"]}
        whole = stream([text_block("one two three four")], usage=usage)
        chunks = [part for pace, chunk in zip(self.paces, whole, strict=False) for part in (chunk, pace)]
        chunks += whole[STEPS:]
        if dice.random() >= self.failing:
            return Answer(chunks=chunks)
        return self._spoilt(dice, chunks)

    def _spoilt(self, dice: Random, chunks: Sequence[bytes | asyncio.Event]) -> Answer:
        """Refused before the first byte, broken off after any, or ended by an error event."""
        some = chunks[: dice.randrange(1, len(chunks))]
        return dice.choice(
            (
                error_answer(529, "overloaded_error", "Overloaded"),
                error_answer(500, "api_error", "Internal server error"),
                Answer(chunks=some, cut=True),
                Answer(chunks=[*some, error_event("overloaded_error", "Overloaded")]),
            )
        )

    async def ask(self, client: aiohttp.ClientSession, url: Callable[[], str], caller: Caller) -> None:
        """All that one client does. `url` is asked again for each try."""
        asking = asyncio.ensure_future(self._tries(client, url, caller))
        if caller.leaves_at is not None:
            leaving = asyncio.ensure_future(self._reached(caller.leaves_at))
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if asking.cancel():
                self.seen[GONE] += 1
                self._met.add(caller.name)
        await asyncio.wait((asking,))
        if not asking.cancelled():
            asking.result()

    async def _tries(self, client: aiohttp.ClientSession, url: Callable[[], str], caller: Caller) -> None:
        for _ in range(TRIES):
            status = await self._once(client, url(), caller)
            self.seen[status] += 1
            self._met.add(caller.name)
            if status not in (GONE, 429, 529) or caller.comes_again_at is None:
                return
            await self._reached(caller.comes_again_at)

    async def _once(self, client: aiohttp.ClientSession, url: str, caller: Caller) -> int:
        headers = {"x-api-key": caller.secret, "x-claude-code-session-id": caller.session}
        body = request_body({"role": "user", "content": caller.name}, max_tokens=MAX_TOKENS)
        try:
            async with client.post(f"{url}/v1/messages", data=body, headers=headers) as response:
                told = await response.read()
        except aiohttp.ClientError:
            return GONE
        if response.status != 200:
            self.refusals.append(told.decode())
        return int(response.status)

    async def _reached(self, step: int) -> None:
        for pace in self.paces[: step + 1]:
            await pace.wait()

    async def look(self, client: aiohttp.ClientSession, url: str, account: str | None = None) -> list[dict[str, Any]]:
        """The limits as an operator sees them; no strict one may be passed."""
        wanted = "" if account is None else f"?account={account}"
        async with client.get(f"{url}/ringfence/v1/limits{wanted}", headers={"x-api-key": OPERATOR}) as response:
            limits = (await response.json())["limits"]
        for limit in limits:
            together = limit["used"] + limit["held"]
            self.peaks[limit["account"]] = max(self.peaks[limit["account"]], together)
            assert not limit["strict"] or together <= limit["max"], f"passed: {limit}"
        return limits

    async def rage(
        self,
        asking: Sequence[Coroutine[Any, Any, None]],
        look: Act,
        *,
        interludes: Mapping[int, Act] = MappingProxyType({}),
    ) -> None:
        """All clients at once, and looks at the caps until they are done. Answers go on once each client was met.

        `interludes` are what happens to the gateways before a step.
        """
        done = asyncio.gather(*asking)
        try:
            while len(self._met) < len(asking):
                await look()
            for step in range(STEPS):
                if step in interludes:
                    await interludes[step]()
                self.go_on(step)
                for _ in range(LOOKS):
                    await look()
            while not done.done():
                await look()
            await done
        finally:
            done.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await done


def trail_of(*directories: Path) -> list[dict[str, Any]]:
    """Every audit record of these gateways."""
    lines = (line for each in directories for line in (each / "audit.jsonl").read_text().splitlines())
    return [json.loads(line) for line in lines]


def owed(trail: Sequence[Mapping[str, Any]]) -> int:
    """Requests at their cost, but those whose end a crash took from the ledger at what was held for them."""
    corrected = {record["hold"] for record in trail if record["event"] == "corrected"}
    expired = {record["hold"]: record["cost_nanousd"] for record in trail if record["event"] == "expired"}
    taken = {hold: cost for hold, cost in expired.items() if hold not in corrected}
    total = sum(taken.values())
    for record in trail:
        if record["event"] == "request":
            is_taken = record["hold"] is not None and record["hold"]["id"] in taken
            total += record["lost_nanousd" if is_taken else "cost_nanousd"]
    return total


async def reported(*directories: Path) -> int:
    """What the report says of the trails of these gateways, in nano-dollars."""
    named = [word for each in directories for word in ("--audit", str(each / "audit.jsonl"))]
    report = await run_cli(directories[0], "report", "spend", "--by", "team", *named)
    return int(report["total"]["cost_nanousd"])


async def at_rest(gateway: Served) -> None:
    """Return once it answers nothing."""
    while True:
        async with gateway.client.get(gateway.ready[2]) as response:
            if "ringfence_in_flight_requests 0.0" in await response.text():
                return
