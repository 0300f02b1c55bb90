"""Whose next request is meant, as far as it is known, and what had to be assumed. Not what limits it: `explain.py`.

Kinds of account that are neither named nor known are those of somebody new: of a first session, or a new user.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import SessionNode
from gateway.core.decisions.decision import Principal
from gateway.core.money.accounts import accounts_of
from gateway.core.money.limits import PER_KINDS

PATH_TAG = "path"
"""The tag that a request brings along in its path, whoever sends it."""


class Contradiction(ValueError):
    """What was asked for cannot be one request, or is no account."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Whose next request is meant; `agent` is `<session>/<agent>`, each `tag` is `<name>=<value>`."""

    user: str | None = None
    team: str | None = None
    group: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    credential: str | None = None
    session: str | None = None
    run: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """Everybody with a credential, the team of each configured user, and the sessions that have been seen."""

    principals: Sequence[Principal] = ()
    teams: Mapping[str, str] = field(default_factory=dict[str, str])
    session: Callable[[str], SessionNode | None] = lambda _: None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what the next request is, as far as it is known; `agent` without its session."""

    user: str | None = None
    team: str | None = None
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    credential: str | None = None
    session: str | None = None
    run: str | None = None
    agent: str | None = None

    @property
    def accounts(self) -> tuple[str, ...]:
        """What it is charged to, widest first; a bare kind where it is not known which one."""
        return accounts_of(self, self.session, agent=self.agent, run=self.run)


def asked_about(account: str) -> Asked:
    """The request that is charged to an account, for what may limit it; a bare kind is a new one of the kind.

    Raises:
        Contradiction: it is no account.
    """
    kind, colon, id = account.partition(":")
    if account == "org" or account in PER_KINDS:
        return Asked()
    if not colon or not id or kind not in (*PER_KINDS, "group", "tag"):
        kinds = ", ".join(("org", *(f"{each}:..." for each in (*PER_KINDS, "group", "tag"))))
        raise Contradiction(f"{account} is no account: must be one of {kinds}")
    if kind == "group":
        return Asked(group=(id,))
    return Asked(tag=(id,)) if kind == "tag" else msgspec.convert({kind: id}, Asked)


def identify(asked: Asked, known: Known) -> tuple[Subject, tuple[str, ...]]:
    """Whose next request it is, completed by what is known, and what had to be assumed.

    Raises:
        Contradiction: the parts belong to different people or sessions.
    """
    notes: list[str] = []
    session, agent = _conversation(asked, notes)
    seen = None if session is None else known.session(session)
    if session is not None and (seen is None or agent not in seen.agents):
        unseen = f"session {session}" if seen is None else f"agent {session}/{agent}"
        notes.append(f"{unseen} has not been seen: explained as what would hold for its first request")
    principal = _principal(asked, known, seen, notes)
    user = _user(asked, principal, seen)
    team = _team(asked, known, principal, user)
    if user is not None and team is None:
        notes.append(f"user {user} is in no team")
    if asked.team and asked.team not in {*known.teams.values(), *(each.team for each in known.principals)}:
        notes.append(f"team {asked.team} is not known here: explained as what would hold for it")
    subject = Subject(
        user=user,
        team=team,
        groups=_groups(asked, principal),
        tags=_tags(asked, principal),
        credential=asked.credential or (principal.credential if principal else None),
        session=session,
        run=asked.run,
        agent=agent,
    )
    return subject, tuple(notes)


def _conversation(asked: Asked, notes: list[str]) -> tuple[str | None, str | None]:
    """Session and agent; a request that names no agent is the main agent's."""
    if asked.agent is None:
        if asked.session is not None:
            notes.append(f"no agent is named: the main agent of session {asked.session} is meant")
        return asked.session, None if asked.session is None else MAIN_AGENT
    session, _, agent = asked.agent.partition("/")
    if not session or not agent or "/" in agent:
        raise Contradiction(f"agent {asked.agent} is not of the form <session>/<agent>")
    if asked.session not in (None, session):
        raise Contradiction(f"agent {asked.agent} is not of session {asked.session}")
    return session, agent


def _principal(asked: Asked, known: Known, seen: SessionNode | None, notes: list[str]) -> Principal | None:
    """Whoever has the named credential, else the only one of the named user, else the one that began the session."""
    if asked.credential is not None:
        found = next((each for each in known.principals if each.credential == asked.credential), None)
        if found is None:
            notes.append(f"credential {asked.credential} is not known here: explained as what would hold for it")
        return found
    user = asked.user or (seen.user if seen else None)
    if user is None:
        return None
    own = [each for each in known.principals if each.user == user]
    if not own and user not in known.teams:
        notes.append(f"user {user} is not known here: explained as what would hold for it")
    if len(own) > 1:
        began = [each for each in own if seen is not None and each.credential == seen.credential]
        if not began:
            notes.append(
                f"user {user} has {len(own)} credentials: name one to see the limits of it, its groups and tags"
            )
        own = began
    return own[0] if own else None


def _user(asked: Asked, principal: Principal | None, seen: SessionNode | None) -> str | None:
    user = asked.user or (principal.user if principal else seen.user if seen else None)
    if principal is not None and user != principal.user:
        raise Contradiction(f"credential {principal.credential} is of user {principal.user}, not of {user}")
    if seen is not None and user is not None and user != seen.user:
        raise Contradiction(f"session {seen.id} belongs to user {seen.user}: a request of {user} in it is refused")
    return user


def _team(asked: Asked, known: Known, principal: Principal | None, user: str | None) -> str | None:
    if principal is None:
        return asked.team or (known.teams.get(user) if user is not None else None)
    if asked.team not in (None, principal.team):
        charged = f"charged to team {principal.team}" if principal.team else "charged to no team"
        raise Contradiction(f"credential {principal.credential} is {charged}, not to {asked.team}")
    return principal.team


def _groups(asked: Asked, principal: Principal | None) -> tuple[str, ...]:
    if principal is None:
        return asked.group
    for group in asked.group:
        if group not in principal.groups:
            raise Contradiction(f"credential {principal.credential} is not in group {group}")
    return principal.groups


def _tags(asked: Asked, principal: Principal | None) -> dict[str, str]:
    tags = {} if principal is None else dict(principal.tags)
    named: dict[str, str] = {}
    for tag in asked.tag:
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise Contradiction(f"tag {tag} is not of the form <name>=<value>")
        if named.setdefault(name, value) != value:
            raise Contradiction(f"tag {name} cannot be both {named[name]} and {value}")
        if principal is not None and name != PATH_TAG and tags.get(name) != value:
            raise Contradiction(f"credential {principal.credential} does not have the tag {tag}")
    return tags | named
