"""`ringfence credentials`: creates, lists and revokes credentials in the store, also while the gateway serves from it.

The secret is shown once and stored as a hash only.
"""

import re
import secrets
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal

from gateway.commands.output import EXIT_USAGE, CommandFailed, moment, plain, print_json, print_rich, table
from gateway.config import Config
from gateway.stores import Credentials, open_credentials
from gateway.stores.credentials import CredentialRow, CredentialTaken

SECRET_BYTES = 32
SECRET_PREFIX = "rf_"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What is asked for."""

    id: str
    user: str
    team: str | None = None
    operator: bool = False


@dataclass(frozen=True, slots=True)
class _Listed:
    """A credential as it is shown: never its secret, nor its hash."""

    id: str
    user: str
    team: str | None
    operator: bool
    source: Literal["configuration", "store"]
    created_ms: int | None = None
    revoked_ms: int | None = None


def create_credential(config: Config, wanted: NewCredential, *, as_json: bool) -> None:
    """Make a credential and print its secret, the only time that anybody sees it."""
    for what, text in (("credential id", wanted.id), ("user", wanted.user)):
        if not _ID.fullmatch(text):
            raise CommandFailed(f"{text!r} is no {what}: letters, digits and . _ @ + - only, at most 128", EXIT_USAGE)
    teams = [team.id for team in config.org.teams]
    if wanted.team is not None and wanted.team not in teams:
        known = ", ".join(teams) or "none"
        raise CommandFailed(f"team {wanted.team!r} is not in the configuration (known: {known})", EXIT_USAGE)
    rows = _rows(config)
    taken = {row.id for row in rows.list()} | {written.id for written in config.identity.credentials}
    if wanted.id in taken:
        raise CommandFailed(f"credential {wanted.id} exists already, or did until it was revoked: choose another id")
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = CredentialRow(
        id=wanted.id,
        user=wanted.user,
        team=wanted.team,
        hash=sha256(secret.encode()).digest(),
        created_ms=_now_ms(),
        revoked_ms=None,
        operator=wanted.operator,
        tags={},
    )
    try:
        rows.insert(row)
    except CredentialTaken as taken_meanwhile:
        raise CommandFailed(str(taken_meanwhile)) from None
    if as_json:
        print_json({**asdict(_listed(row)), "secret": secret})
        return
    print(secret)
    print_rich(plain(f"credential {row.id} of {row.user} was created; this is the only time its secret is shown"))


def list_credentials(config: Config, *, as_json: bool) -> None:
    """Credentials of the configuration and of the store, without their secrets."""
    listed = [_Listed(row.id, row.user, row.team, row.operator, "configuration") for row in config.identity.credentials]
    listed += [_listed(row) for row in _rows(config).list()]
    if as_json:
        print_json({"credentials": listed})
        return
    rows = table("Credentials", "id", "user", "team", "operator", "source", "created", "revoked")
    for row in listed:
        operator = "yes" if row.operator else "no"
        times = (moment(row.created_ms), moment(row.revoked_ms))
        texts = (row.id, row.user, row.team or "-", operator, row.source, *times)
        rows.add_row(*(plain(text) for text in texts))
    print_rich(rows if listed else "No credential exists.")


def revoke_credential(config: Config, credential: str, *, as_json: bool) -> None:
    """End a credential; a gateway that serves refuses it within a second."""
    if credential in {written.id for written in config.identity.credentials}:
        raise CommandFailed(f"credential {credential} is written in the configuration: remove it there and restart")
    rows = _rows(config)
    found = next((row for row in rows.list() if row.id == credential), None)
    if found is None:
        raise CommandFailed(f"credential {credential} does not exist; `ringfence credentials list` shows all")
    if found.revoked_ms is None:
        rows.revoke(credential, _now_ms())
    if as_json:
        print_json(_listed(next(row for row in rows.list() if row.id == credential)))
        return
    print_rich(plain(f"credential {credential} is revoked"))


def _rows(config: Config) -> Credentials:
    return open_credentials(config.store)


def _listed(row: CredentialRow) -> _Listed:
    return _Listed(row.id, row.user, row.team, row.operator, "store", row.created_ms, row.revoked_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
