"""What each section of the file may say: its keys, defaults and limits.

Upstreams and routes: `upstreams.py`. What sections say of each other: `load.py`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Generic, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.config.document import Entry
from gateway.config.model import (
    Audit,
    CredentialConfig,
    Listen,
    OnFailure,
    Prices,
    Secret,
    Store,
    Team,
)
from gateway.config.values import (
    Table,
    absolute_path,
    shown,
)

SQLITE_PREFIX = "sqlite:///"
POSTGRES_PREFIXES = ("postgresql://", "postgres://")
SECRET_CHARS_MIN = 16
"""Shortest credential that may be shown to us: shorter ones can be guessed."""
ROTATE_BYTES_MIN = 4096
ROTATE_BYTES_MAX = 1024**4
ROTATED_FILES_MAX = 1000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A value and the table it was read from, so that a later check can name the place."""

    value: T
    table: Table


def read_listen(table: Table | None, default: Listen, *, drains: bool) -> Listen:
    """`{host, port}`, and `drain_seconds` where answers may be running when it stops."""
    if table is None:
        return default
    listen = Listen(
        host=table.text("host") or default.host,
        port=table.integer("port", default.port, low=0, high=65535),
        drain_seconds=table.seconds("drain_seconds", default.drain_seconds) if drains else default.drain_seconds,
    )
    table.done()
    return listen


def read_store(root: Table) -> Store:
    """`{url, on_failure, journal}`: a SQLite file, or a Postgres database; paths become absolute."""
    table = root.table("store")
    if table is None:
        return Store(_sqlite_url(root.entry, Store().url))
    url = table.text("url") or Store().url
    place = table.place_of("url")
    on_failure: OnFailure = table.choice("on_failure", get_args(OnFailure), "closed")
    journal = table.path("journal")
    table.done()
    if url.startswith(POSTGRES_PREFIXES):
        return Store(url, on_failure, journal or place.source.folder / "ringfence-journal")
    for key in ("on_failure", "journal"):
        if table.find(key) is not None:
            table.place_of(key).key_problem(f"store.{key} is for Postgres", "remove it: a SQLite file is not away")
    return Store(_sqlite_url(place, url))


def _sqlite_url(place: Entry, url: str) -> str:
    name = url.removeprefix(SQLITE_PREFIX)
    if name == url or not name:
        known = "write sqlite:///ringfence.db, sqlite:////absolute/path.db or postgresql://user@host/database"
        place.problem(f"{place.name} names no database that is known", known)  # not shown: it may hold a password
        return Store().url
    path = absolute_path(place, name)
    if path is not None and not path.parent.is_dir():
        place.problem(f"{place.name}: the folder {path.parent} does not exist", "create it, or name another")
    return f"{SQLITE_PREFIX}{path}"


def read_org(table: Table | None) -> tuple[str, tzinfo, list[Placed[Team]]]:
    """`{id, time_zone, teams: [{id, users}]}`."""
    if table is None:
        return "default", UTC, []
    org = read_id(table, "id", "default")
    zone = _read_zone(table)
    teams: list[Placed[Team]] = []
    for row in table.tables("teams"):
        teams.append(Placed(Team(read_id(row, "id"), row.texts("users")), row))
        row.done()
    table.done()
    return org, zone, teams


def _read_zone(table: Table) -> tzinfo:
    name = table.text("time_zone")
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        place = table.place_of("time_zone")
        place.problem(f"{place.name} is {shown(place)}", "a name of the time zone database, such as Europe/Berlin")
        return UTC


def read_credentials(table: Table | None) -> list[Placed[CredentialConfig]]:
    """`{credentials: [{id, secret, user, team, operator, groups, tags}]}`."""
    found: list[Placed[CredentialConfig]] = []
    if table is None:
        return found
    for row in table.tables("credentials"):
        secret = row.secret("secret")
        place = row.place_of("secret")
        if secret is None and row.find("secret") is None:
            place.problem(f"{row.entry.name} has no secret", 'add secret: "${NAME_OF_A_VARIABLE}"')
        elif secret is not None and len(secret.reveal()) < SECRET_CHARS_MIN:
            suggestion = "`ringfence credentials create` makes a long one"
            place.problem(f"{place.name} is shorter than {SECRET_CHARS_MIN} characters", suggestion)
        credential = CredentialConfig(
            id=read_id(row, "id"),
            secret=secret or Secret(""),
            user=read_id(row, "user"),
            team=row.text("team"),
            operator=row.flag("operator", False),
            groups=row.texts("groups"),
            tags=row.text_mapping("tags"),
        )
        row.done()
        found.append(Placed(credential, row))
    table.done()
    return found


def read_audit(table: Table | None) -> Audit:
    """`{path, rotate_bytes, keep}`."""
    if table is None:
        return Audit()
    path = table.text("path") or "stdout"
    place = table.place_of("path")
    target = None if path == "stdout" else absolute_path(place, path)
    if target is not None and not target.parent.is_dir():
        place.problem(f"audit.path: the folder {target.parent} does not exist", "create it, or write stdout")
    audit = Audit(
        path=path if target is None else str(target),
        rotate_bytes=table.integer("rotate_bytes", Audit().rotate_bytes, low=ROTATE_BYTES_MIN, high=ROTATE_BYTES_MAX),
        keep=table.integer("keep", Audit().keep, low=1, high=ROTATED_FILES_MAX),
    )
    table.done()
    return audit


def read_prices(table: Table | None) -> Prices:
    """`{path, fallback_model}`."""
    if table is None:
        return Prices()
    path = table.path("path")
    if path is not None and not path.is_file():
        table.place_of("path").problem(f"prices.path: {path} is not a file", "check the path")
    prices = Prices(path, table.text("fallback_model"))
    table.done()
    return prices


def read_id(table: Table, key: str, default: str | None = None) -> str:
    """An id as it may stand in an account name, a metric and a path. `default` None: it must be there."""
    found = table.required(key) if default is None else table.text(key) or default
    if found and not _ID.fullmatch(found):
        place = table.place_of(key)
        place.problem(f"{place.name} is {shown(place)}", "letters, digits and . _ @ + - only, at most 128")
        return ""
    return found
