"""Who gets the next of a bounded number of places: users in turn, each user's tickets in their order. Never waits.

A user with a hundred tickets and a user with one are served alternately. A user who comes back stands at the end of the
ring.
"""

from dataclasses import dataclass
from typing import Literal

WAITING_MAX = 1_000
"""Tickets that wait, of all users."""
WAITING_PER_USER_MAX = WAITING_MAX // 2
"""Of one user, so that nobody fills the queue alone."""

Standing = Literal["waiting", "granted", "left"]


@dataclass(slots=True, eq=False)
class Ticket:
    """One request for a place. Its queue alone changes `standing`."""

    user: str
    standing: Standing


class FairQueue:
    """At most `places` at once; the rest wait."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._ring: dict[str, dict[Ticket, None]] = {}
        """Users who wait, the next to be served first, each with tickets in order of arrival."""
        self.in_use = 0
        self.waiting = 0

    def ask(self, user: str) -> Ticket | None:
        """A ticket, granted or waiting; None when too many wait."""
        if self.in_use < self._places:
            self.in_use += 1
            return Ticket(user, "granted")
        mine = self._ring.get(user)
        if self.waiting >= WAITING_MAX or (mine is not None and len(mine) >= WAITING_PER_USER_MAX):
            return None
        ticket = Ticket(user, "waiting")
        self._ring.setdefault(user, {})[ticket] = None
        self.waiting += 1
        return ticket

    def release(self) -> Ticket | None:
        """A place is given back; the ticket that has it now, if one waited. Raises ValueError when none was taken."""
        if self.in_use == 0:
            raise ValueError("a place was given back that nobody had taken")
        self.in_use -= 1
        if not self._ring:
            return None
        user = next(iter(self._ring))
        ticket = next(iter(self._ring[user]))
        self._remove(ticket, to_the_end=True)
        ticket.standing = "granted"
        self.in_use += 1
        return ticket

    def cancel(self, ticket: Ticket) -> Ticket | None:
        """Whoever asked has left: a waiting ticket is forgotten, a granted one releases its place, once."""
        before, ticket.standing = ticket.standing, "left"
        if before == "granted":
            return self.release()
        if before == "waiting":
            self._remove(ticket, to_the_end=False)
        return None

    def _remove(self, ticket: Ticket, *, to_the_end: bool) -> None:
        mine = self._ring[ticket.user]
        del mine[ticket]
        self.waiting -= 1
        if not mine:
            del self._ring[ticket.user]
        elif to_the_end:
            self._ring[ticket.user] = self._ring.pop(ticket.user)
