"""Who shows this secret: credentials of the configuration and of the store, answered from memory. Not what they may do.

Secrets are kept as SHA-256 only. A slow hash would add nothing: it makes guessing of what people choose expensive, and
these are 256 random bits that we made, or at least 16 characters that the configuration was checked for. It would cost
every request its time. The lookup is by digest, so that its timing tells about hashes and not about secrets; the
final comparison is constant-time all the same.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from gateway.config import Config, ConfigInvalid, Problem
from gateway.core.decisions.decision import Principal
from gateway.identity.run_bearers import PREFIX, RunBearers
from gateway.ports import StoredCredential

SECRET_CHARS_MAX = 4096
"""Longest secret that is hashed; longer ones are nobody's."""


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """How to read the store's credentials: `version` is cheap and differs whenever `rows` would."""

    version: Callable[[], Awaitable[object]]
    rows: Callable[[], Awaitable[Iterable[StoredCredential]]]


class Authenticator:
    """Implements `ports.Authenticator`. `refresh` is called before serving, and then about once a second."""

    def __init__(self, config: Config, stored: StoredCredentials | None = None) -> None:
        """Raises ConfigInvalid when two credentials of the configuration share an id or a secret."""
        self.run_bearers = RunBearers()
        self._config = config
        self._stored = stored
        self._version: object = None
        self._known, conflicts = _principals(config, ())
        self._by_id = _by_id(self._known)
        if conflicts:
            raise ConfigInvalid(conflicts)

    def __len__(self) -> int:
        return len(self._known)

    def authenticate(self, secret: str) -> Principal | None:
        """The principal of `secret`, or None. Costs one hash and one lookup."""
        if len(secret) > SECRET_CHARS_MAX:
            return None
        digest = sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(digest)
        if found is not None:
            return found[1] if hmac.compare_digest(found[0], digest) else None
        bearer = self.run_bearers.find(digest)
        return None if bearer is None else self.current(bearer.owner)

    def run_of(self, secret: str) -> str | None:
        """The run that alone may use this secret; None: it is no run's."""
        if not secret.startswith(PREFIX):
            return None
        bearer = self.run_bearers.find(sha256(secret.encode("utf-8", "surrogatepass")).digest())
        return None if bearer is None else bearer.run

    def current(self, owner: Principal) -> Principal | None:
        """For whom a run of this owner acts now: its credential as it stands, never an operator; None: it may not."""
        found = self._by_id.get(owner.credential)
        if found is None or found.user != owner.user:
            return None
        return msgspec.structs.replace(found, operator=False, tags={**owner.tags, **found.tags})

    def principals(self) -> tuple[Principal, ...]:
        """Everybody who is known now."""
        return tuple(principal for _, principal in self._known.values())

    def accepts(self, credential: str) -> bool:
        """May a credential of this id still connect?"""
        return credential in self._by_id

    @property
    def teams(self) -> Mapping[str, str]:
        """User to team, as the configuration says; a credential may name another team."""
        return _team_of(self._config)

    async def refresh(self) -> tuple[Problem, ...]:
        """Take over credentials that were created or revoked since.

        Returns what could not be taken over: a row that shares its id or secret with another one is left out, so that a
        revocation takes effect whatever else is wrong. What the store raises is passed on and nothing changes.
        """
        if self._stored is None:
            return ()
        version = await self._stored.version()
        if version == self._version:
            return ()
        self._known, conflicts = _principals(self._config, await self._stored.rows())
        self._by_id = _by_id(self._known)
        self._version = version
        return conflicts


_Known = dict[bytes, tuple[bytes, Principal]]


def _principals(config: Config, rows: Iterable[StoredCredential]) -> tuple[_Known, tuple[Problem, ...]]:
    known: _Known = {}
    conflicts: list[Problem] = []
    ids: set[str] = set()
    for digest, principal in (*_configured(config), *_active(config, rows)):
        twin = known.get(digest)
        if twin is not None:
            message = f"credentials {twin[1].credential} and {principal.credential} have the same secret"
            conflicts.append(Problem("credentials", message, "revoke one of them, or change the secret in the file"))
        elif principal.credential in ids:
            message = f"credential {principal.credential} exists twice: in the configuration and in the store"
            conflicts.append(Problem("credentials", message, "revoke the one in the store, or rename the other"))
        else:
            known[digest] = (digest, principal)
            ids.add(principal.credential)
    return known, tuple(conflicts)


def _by_id(known: _Known) -> dict[str, Principal]:
    return {principal.credential: principal for _, principal in known.values()}


def _configured(config: Config) -> Iterator[tuple[bytes, Principal]]:
    team_of = _team_of(config)
    for written in config.identity.credentials:
        yield (
            sha256(written.secret.reveal().encode()).digest(),
            Principal(
                org=config.org.id,
                team=written.team or team_of.get(written.user),
                user=written.user,
                credential=written.id,
                groups=written.groups,
                tags=dict(written.tags),
                operator=written.operator,
            ),
        )


def _active(config: Config, rows: Iterable[StoredCredential]) -> Iterator[tuple[bytes, Principal]]:
    team_of = _team_of(config)
    for row in rows:
        if row.revoked_ms is None:
            yield (
                row.hash,
                Principal(
                    org=config.org.id,
                    team=row.team or team_of.get(row.user),
                    user=row.user,
                    credential=row.id,
                    tags=dict(row.tags),
                    operator=row.operator,
                ),
            )


def _team_of(config: Config) -> dict[str, str]:
    return {user: team.id for team in config.org.teams for user in team.users}
