"""What a running gateway does again and again beside requests: credentials, overdue holds, what other gateways wrote.

A chore that fails is logged and done again; none keeps another from its turn.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from gateway.boards import Boards
from gateway.core.agents.lineage import Tree
from gateway.core.money.budgets import Expired
from gateway.identity.credentials import Authenticator
from gateway.ports import AuditSink, Clock, Store, Telemetry

HOUSE_SECONDS = 1.0
"""How often revoked credentials, overdue holds and unanswered approvals are looked for, and the others' sums."""
SHARED_SECONDS = 0.4
"""How often the records of other gateways are read: what a person stops there ends here within a second."""

_log = logging.getLogger(__name__)


class Chore(NamedTuple):
    """Something to be done every few seconds."""

    name: str
    seconds: float
    work: Callable[[], Awaitable[None]]


async def keep_doing(chore: Chore) -> None:
    """Do a chore until cancelled."""
    while True:
        await asyncio.sleep(chore.seconds)
        try:
            await chore.work()
        except Exception as error:  # noqa: BLE001  # whatever it was, the next round must come
            _log.exception("%s failed (%s); it is tried again", chore.name, error)


class House:
    """The chores of one gateway."""

    def __init__(self, authenticator: Authenticator, store: Store, clock: Clock) -> None:
        self._authenticator = authenticator
        self._store = store
        self._clock = clock

    def chores(self, boards: Boards, tree: Tree, audit: AuditSink, telemetry: Telemetry) -> list[Chore]:
        """All of them."""

        async def credentials() -> None:
            for problem in await self._authenticator.refresh():
                _log.error("credentials: %s", problem)

        async def holds() -> None:
            record_expired(await self._store.expire(self._clock.unix_ms()), audit, telemetry, self._clock)

        async def shared() -> None:
            records = await self._store.changed_records()
            if records:
                boards.learn(records)

        async def elsewhere() -> None:
            sessions = tree.lately_used(self._clock.unix_ms())
            if sessions:
                tree.learn_elsewhere(await self._store.used_elsewhere(sessions))

        return [
            Chore("reading credentials", HOUSE_SECONDS, credentials),
            Chore("expiring holds", HOUSE_SECONDS, holds),
            Chore("reading what other gateways wrote", SHARED_SECONDS, shared),
            Chore("adding up what other gateways counted", HOUSE_SECONDS, elsewhere),
            Chore("keeping what people said", SHARED_SECONDS, boards.controls.keep),
            Chore("ending approvals", HOUSE_SECONDS, boards.approvals.tidy),
        ]


def record_expired(expired: Sequence[Expired], audit: AuditSink, telemetry: Telemetry, clock: Clock) -> None:
    """Holds that nobody ended are spend now; say so wherever spend is read."""
    for each in expired:
        _log.warning("hold %s was never settled and is now spend", each.id)
        audit.expired(each, clock.unix_ms())
    telemetry.hold_expired(len(expired))
