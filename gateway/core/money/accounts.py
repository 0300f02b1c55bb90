"""The accounts that a request is charged to, widest first. Not the limits on them: `limits.py`."""

from collections.abc import Mapping
from typing import Protocol


class Payer(Protocol):
    """Whom a request acts for. No `user`: it is not known who. A `user` without `team` is in none."""

    @property
    def team(self) -> str | None: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def user(self) -> str | None: ...
    @property
    def credential(self) -> str | None: ...


def accounts_of(payer: Payer, session: str | None, *, agent: str | None, run: str | None = None) -> tuple[str, ...]:
    """Every account of a request, each once; a bare kind for one of which it is not known which it is.

    `agent` is its id within the session. Groups, tags and the run are charged only when they are known.
    """
    team = () if payer.team is None and payer.user is not None else (_named("team", payer.team),)
    accounts = (
        "org",
        *team,
        *(f"group:{group}" for group in payer.groups),
        *(f"tag:{name}={value}" for name, value in payer.tags.items()),
        _named("user", payer.user),
        _named("credential", payer.credential),
        _named("session", session),
        *(() if run is None else (f"run:{run}",)),
        "agent" if session is None or agent is None else f"agent:{session}/{agent}",
    )
    return tuple(dict.fromkeys(accounts))


def _named(kind: str, id: str | None) -> str:
    return kind if id is None else f"{kind}:{id}"
