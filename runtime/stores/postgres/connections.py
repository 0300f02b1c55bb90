"""Connections to the database, a few for each purpose, and what its errors mean. No tables are read here.

A connection that fails is cut: what was under way then is not known, so whoever uses one must be able to say it again.
Secrets of the URL stay out of every message.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from runtime.ports import StoreAway

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 5.0
"""How long the server works on one statement, and a little less than we wait for it."""
NETWORK_SECONDS = 0.5
"""What we wait longer than the server works."""
IDLE_MS = 10_000
"""The server gives up a transaction of ours that stands still for so long, and its locks."""
TRIES = 3
"""How often a transaction is said again that another one's got in the way of."""

SCHEMA = "ringfence_run"

T = TypeVar("T")
Connection = Any
Unreachable: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)
"""The database cannot be reached, or it is not known what became of a statement."""
PostgresError: type[Exception] = asyncpg.PostgresError
Failed: tuple[type[Exception], ...] = (*Unreachable, PostgresError)

_RETRYABLE = ("40001", "40P01")
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
    ((asyncpg.DiskFullError,), "has no room left on its disk: free some space"),
    ((asyncpg.ReadOnlySQLTransactionError,), "is read-only (a standby?): name the primary in store.url"),
    ((asyncpg.TooManyConnectionsError,), "has no free connection: raise max_connections, three more for each gateway"),
    ((ValueError,), "does not take what it was given ({name}): check store.url"),
    (
        (asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError),
        "cannot be reached ({name}): check that the server runs and the network to it",
    ),
)


class Connections:
    """At most so many connections, made when they are needed. Used on one event loop, until `close`."""

    def __init__(self, url: str, purpose: str, most: int) -> None:
        self._url = url
        self._purpose = purpose
        self._free: list[Connection] = []
        self._places = asyncio.Semaphore(most)
        self._closed = False

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns in a transaction of its own, which is repeated when another one's got in the way.

        Raises:
            StoreAway: as `use`.
        """
        for _ in range(TRIES):
            try:
                async with self.use() as connection, connection.transaction():
                    return await work(connection)
            except PostgresError as error:
                if not is_retryable(error):
                    raise
        raise StoreAway(f"the run store {shown(self._url)} is in too much demand just now: try again in a moment")

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection]:
        """One of them, for one user at a time.

        Raises:
            StoreAway: the database cannot be reached or used just now; what was said may have been done.
        """
        async with self._places:
            connection: Connection = None
            try:
                connection = await self._take()
                yield connection
            except BaseException as error:
                if connection is not None and not _stands(error):
                    connection.terminate()
                if isinstance(error, Failed) and not _is_answer(error):
                    raise StoreAway(f"the run store {shown(self._url)} {explain(error)}") from error
                raise
            finally:
                if connection is not None and not connection.is_closed():
                    self._free.append(connection)

    async def close(self) -> None:
        """Take leave of the server, if it is there. Nothing may be in use any more."""
        self._closed = True
        while self._free:
            connection = self._free.pop()
            try:
                await connection.close(timeout=NETWORK_SECONDS)
            except Unreachable:
                connection.terminate()

    async def _take(self) -> Connection:
        if self._closed:
            raise StoreAway(f"the run store {shown(self._url)} is closed: it takes nothing more before the next start")
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return await connect(self._url, self._purpose)


async def connect(url: str, purpose: str) -> Connection:
    """A connection to the database. Raises one of `Failed`."""
    settings = {
        "application_name": f"ringfence {purpose}",
        "search_path": SCHEMA,
        "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
        "idle_in_transaction_session_timeout": str(IDLE_MS),
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
    }
    wait = STATEMENT_SECONDS + NETWORK_SECONDS
    made: Any = asyncpg.connect  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return await made(url, timeout=CONNECT_SECONDS, command_timeout=wait, server_settings=settings)


def is_retryable(error: BaseException) -> bool:
    """Deadlock or serialization failure: nothing was done, and the same again will do."""
    return getattr(error, "sqlstate", None) in _RETRYABLE


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
        return f"failed ({getattr(error, 'sqlstate', '')} {error}): see the server's log"
    return f"failed ({type(error).__name__})"


def _stands(error: BaseException) -> bool:
    """Is the connection good for more after this?"""
    return isinstance(error, Exception) and (not isinstance(error, Failed) or _is_answer(error))


def _is_answer(error: BaseException) -> bool:
    """Is it what was said, or somebody else's transaction, that is in the way, and not the database?"""
    if isinstance(error, PostgresError):
        return is_retryable(error) or str(getattr(error, "sqlstate", ""))[:2] in ("22", "23", "54")
    return isinstance(error, ValueError)
