"""Connections to the database, each for one purpose and one user at a time, and what its errors mean. No tables.

A line connects when it is used and none stands, and is cut after any failure of the network: what was under way then is
not known, so whoever uses a line must be able to say it again. Secrets of the URL stay out of every message.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from gateway.errors import GatewayError, Reason, Refused

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 2.0
"""How long the server works on one statement, and a little less than we wait for it."""
NETWORK_SECONDS = 0.5
"""What we wait longer than the server works."""
IDLE_MS = 10_000
"""The server gives up a transaction of ours that stands still for so long, and its locks."""
SCHEMA = "ringfence"

RETRYABLE = ("40001", "40P01")
"""Serialization failure, deadlock: nothing was done, and the same again will do."""

Connection = Any
Row = Mapping[str, Any]
PostgresError: type[Exception] = asyncpg.PostgresError
"""The server answered that something is wrong."""
UniqueViolation: type[Exception] = asyncpg.UniqueViolationError
Away: tuple[type[Exception], ...] = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""The database cannot be reached, or it is not known what became of a statement."""
Failed = (*Away, PostgresError)


_explanations = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "refuses the user or its password: check store.url and the server's access rules",
    ),
    ((asyncpg.InvalidCatalogNameError,), "does not exist: create it, or correct store.url"),
    (
        (asyncpg.InsufficientPrivilegeError,),
        f"lacks a permission ({{error}}): let the user create the schema {SCHEMA!r}, or own it",
    ),
    ((asyncpg.DiskFullError,), "the server's disk is full: free some space"),
    ((asyncpg.ReadOnlySQLTransactionError,), "is read-only (a standby?): name the primary in store.url"),
    ((asyncpg.TooManyConnectionsError,), "has no free connection: raise max_connections, four for each gateway"),
    ((ValueError,), "does not take what it was given ({name}): check store.url"),
    (
        (asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError),
        "cannot be reached ({name}): check that the server runs and the network to it",
    ),
)


class StoreInvalid(GatewayError):
    """The database cannot be used as it is. The message names it, without secrets, and the next step."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, f"database {shown(url)}: {problem}")


class Line:
    """One connection, made anew when it is needed; `async with` gives it to one user at a time."""

    def __init__(self, url: str, purpose: str) -> None:
        self._url = url
        self._purpose = purpose
        self._lock = asyncio.Lock()
        self._connection: Connection = None

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection]:
        """The connection. Any error of the network or of time, or cancellation, cuts it."""
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._url, self._purpose)
            try:
                yield self._connection
            except (*Away, asyncio.CancelledError) as error:
                if not is_about_content(error):
                    self.cut()
                raise

    def cut(self) -> None:
        """Drop the connection at once: what comes of it no longer matters."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Take leave of the server, if it is there."""
        if self._connection is not None:
            try:
                await self._connection.close(timeout=NETWORK_SECONDS)
            except Away:
                self._connection.terminate()
            self._connection = None


@asynccontextmanager
async def asking(line: Line) -> AsyncGenerator[Connection]:
    """A connection for what people want to know or change. Raises `Refused(STORE_UNAVAILABLE)`."""
    try:
        async with line.use() as connection:
            yield connection
    except Failed as error:
        raise Refused(Reason.STORE_UNAVAILABLE, f"the database {explain(error)}", {"retry-after": "5"}) from error


def refusal() -> Refused:
    """For a request whose money cannot be held."""
    message = (
        "spend cannot be recorded just now, so the request was not sent; try again in a moment, and tell the "
        "operator if it stays so"
    )
    return Refused(Reason.STORE_UNAVAILABLE, message, {"retry-after": "5"})


async def connect(url: str, purpose: str) -> Connection:
    """A connection to the database. Raises one of `Away`, or `PostgresError`."""
    settings = {
        "application_name": f"ringfence {purpose}",
        "search_path": SCHEMA,
        "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
        "idle_in_transaction_session_timeout": str(IDLE_MS),
        "synchronous_commit": "on",
    }
    wait = STATEMENT_SECONDS + NETWORK_SECONDS
    made: Any = asyncpg.connect  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return await made(url, timeout=CONNECT_SECONDS, command_timeout=wait, server_settings=settings)


def sqlstate_of(error: BaseException) -> str:
    """The server's code of what is wrong; empty when it is not the server that says so."""
    return getattr(error, "sqlstate", None) or ""


def is_about_content(error: BaseException) -> bool:
    """Is it what was said that the database does not take, so that saying it again is in vain?"""
    if isinstance(error, PostgresError):
        return sqlstate_of(error)[:2] in ("22", "23", "54")
    return isinstance(error, ValueError)


def shown(url: str) -> str:
    """The URL without user, password and options."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", f":{parts.port}" if parts.port else ""
    except ValueError:
        return "of store.url"
    return f"postgresql://{host}{port}{parts.path}"


def explain(error: BaseException) -> str:
    """What happened and what to do, in one sentence, with no secret: only words of the server that hold none."""
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
        return "did not answer in time: check the server's load and the network to it"
    for kinds, text in _explanations:
        if isinstance(error, kinds):
            return text.format(name=type(error).__name__, error=error)
    if isinstance(error, PostgresError):
        return f"failed ({sqlstate_of(error)} {error}): see the server's log"
    return f"failed ({type(error).__name__})"
