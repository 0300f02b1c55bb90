"""The fourth scene: 50 requests at once against a strict cap that has room for three of them."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any
from uuid import uuid4

import anthropic

from gateway.commands.demo.evidence import Trail, figures, read_limit
from gateway.commands.demo.narration import Check, Narrator
from gateway.commands.demo.scenes import Scene, finish, held_first
from gateway.commands.demo.sdk import MODEL, SdkAgent, open_client, refusal_of
from gateway.commands.demo.stage import RESEARCH_CAP_USD, RESEARCH_TEAM, RESEARCHER, Stage
from gateway.contract import SESSION_HEADERS
from gateway.core.money.pricing import format_usd
from gateway.core.money.standing import Standing
from gateway.errors import Reason

PROMPT = "Write the long report"
REQUESTS = 50
REPORT_TOKENS = 15_000
"""At $20 per million tokens $0.30; the scenario says that each report has as many."""
THROUGH = 3
"""How many of them $1.00 has room for."""
WATCH_SECONDS = 0.02


async def play_budget(stage: Stage, narrator: Narrator) -> Scene:
    """50 sessions of one team ask at the same moment."""
    title = f"${RESEARCH_CAP_USD:.2f} holds under {REQUESTS} x $0.30"
    narrator.scene(4, title)
    narrator.tell("you", f"{PROMPT} ({REQUESTS} sessions of team {RESEARCH_TEAM}, all at once)", "bold")
    sessions = [str(uuid4()) for _ in range(REQUESTS)]
    ended = asyncio.Event()
    async with open_client(stage.url, stage.secrets[RESEARCHER]) as client:
        reports = (_write_report(client, narrator, session) for session in sessions)
        refusals, looks = await asyncio.gather(_all_of(reports, ended), _watch(stage, ended))
    told = [refusal for refusal in refusals if refusal is not None]
    narrator.tell("others", f"REFUSED  {len(told)} requests, such as: {told[-1] if told else '-'}", "bold red")
    trail = await stage.trail(set(sessions))
    limit = read_limit(stage.operator, f"team:{RESEARCH_TEAM}")
    checks = budget_checks(trail, limit, looks)
    return finish(narrator, Scene(4, title, SdkAgent.name, figures(trail, limit), checks))


def budget_checks(trail: Trail, limit: Standing, watched: list[Standing]) -> tuple[Check, ...]:
    """Did exactly as many get through as the cap has room for, by the audit trail and by the ledger?"""
    through = sum(request.completed for request in trail.requests)
    causes = Counter(request.reason for request in trail.requests if not request.completed)
    cap = limit.max
    seen = max((row.used + row.held for row in watched), default=0)
    return (
        Check(
            f"exactly {THROUGH} of {REQUESTS} got through",
            through == THROUGH and causes == {Reason.BUDGET_EXHAUSTED: REQUESTS - THROUGH},
            f"{through} answered, {causes[Reason.BUDGET_EXHAUSTED]} refused by the budget",
        ),
        held_first(Trail(tuple(request for request in trail.requests if request.completed))),
        Check(
            "the ledger recorded what they cost",
            limit.used == trail.spent_nanousd and 0 < limit.used <= cap,
            f"{format_usd(limit.used)} of {format_usd(cap)}",
        ),
        Check("nothing stays held", limit.held == 0, format_usd(limit.held)),
        Check(
            "the ledger never showed more than the cap",
            0 < len(watched) and seen <= cap,
            f"at most {format_usd(seen)} held and spent, in {len(watched)} looks while they ran",
        ),
    )


async def _write_report(client: anthropic.AsyncAnthropic, narrator: Narrator, session: str) -> str | None:
    """One request; the words of its refusal, None when it got through."""
    try:
        async with client.messages.stream(
            model=MODEL,
            max_tokens=REPORT_TOKENS,
            messages=[{"role": "user", "content": PROMPT}],
            extra_headers={SESSION_HEADERS[0]: session},
        ) as stream:
            message = await stream.get_final_message()
    except anthropic.APIStatusError as error:
        return refusal_of(error)
    narrator.tell(session[:8], f"allowed  a report of {message.usage.output_tokens} tokens", "green")
    return None


async def _all_of(reports: Iterable[Coroutine[Any, Any, str | None]], ended: asyncio.Event) -> list[str | None]:
    try:
        return await asyncio.gather(*reports)
    finally:
        ended.set()


async def _watch(stage: Stage, ended: asyncio.Event) -> list[Standing]:
    """Look at the team's limit again and again until the requests have ended."""
    looks: list[Standing] = []
    while not ended.is_set():
        looks.append(await asyncio.to_thread(read_limit, stage.operator, f"team:{RESEARCH_TEAM}"))
        await asyncio.sleep(WATCH_SECONDS)
    return looks
