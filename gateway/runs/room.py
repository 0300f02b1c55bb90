"""Is there money again for a run that a limit paused? Told by the limits as they stand; nothing is held."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.decisions.decision import Principal
from gateway.core.money.accounts import accounts_of
from gateway.core.money.limits import Series
from gateway.errors import Refused
from gateway.ports import Clock, Ledger

Left = Mapping[Series, tuple[int, int]]
"""What is left of each limit that refuses, and what it allows in all."""


@dataclass(frozen=True, slots=True)
class Room:
    """Looks at the limits on the accounts of a run."""

    ledger: Ledger
    clock: Clock

    async def left(self, principal: Principal, session: str, run: str) -> Left:
        """Keep it when a run is paused. Raises `Refused(STORE_UNAVAILABLE)`."""
        accounts = accounts_of(principal, session, agent=None, run=run)
        views = await self.ledger.standing(accounts, self.clock.unix_ms())
        return {
            view.series: (view.left, view.row.max)
            for view in views
            if view.row is not None and view.row.guards and view.row.max is not None and view.left is not None
        }

    async def has_room(self, principal: Principal, session: str, run: str, *, since: Left) -> bool:
        """Has the limit that was tightest when the run was paused let go: raised, removed, begun anew, or less held?

        The same as it was then means no: whoever was refused would be refused again. False while nobody can tell; where
        no limit of ours stood, such as for an upstream that wants to be paid, nobody ever can, and a person resumes it.
        """
        if not since:
            return False
        tightest = min(since, key=lambda series: since[series][0] / max(1, since[series][1]))
        try:
            now = await self.left(principal, session, run)
        except Refused:
            return False
        return tightest not in now or now[tightest][0] > since[tightest][0]
