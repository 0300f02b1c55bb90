"""Puts the gateway's policy set on an OPA server, and again when the server has lost it. Asks no query.

OPA takes one module at a time, so for a moment the server holds parts of two sets. No decision is ever taken from
such a mixture: each module is given a mark that names the whole set, the settings name it too, and `ringfence.served`
tells a set's revision only when all of these are there. Engines take an answer only with that revision (`opa.py`);
what is asked meanwhile waits.

One server may serve several gateways when all have the same policies. Of two that have different ones, the last to
start or reload wins, and the other denies everything, rather than both pushing in turn.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import aiohttp
import opa_client.errors as opa_errors  # pyright: ignore[reportMissingTypeStubs]

from gateway.errors import GatewayError, Reason
from gateway.policy.opa import PACKAGE, SERVED
from gateway.policy.opaclient import OpaServer
from gateway.policy.policyset import PolicySet
from gateway.tasks import Tasks

PUSH_SECONDS_MAX = 10.0
"""For one call of the server; a push is about as many calls as there are modules."""
RESTORE_SECONDS_MAX = 5.0
"""How long a query waits for the policies to be put back."""
RESTORE_AGAIN_SECONDS = 1.0
"""Between two tries to put them back."""
ID_PREFIX = f"{PACKAGE}/"
"""Of the modules that gateways put on a server."""

_PACKAGE = re.compile(r"^\s*package\s+([^\s#]+)", re.MULTILINE)

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Step = Callable[[], Awaitable[object]]


class Pusher:
    """Keeps one OPA server in step with one policy set. Implements `opa.Expected`."""

    def __init__(self, server: OpaServer, tasks: Tasks) -> None:
        self._server = server
        self._tasks = tasks
        self._set: PolicySet | None = None
        self._revision = ""
        self._lock = asyncio.Lock()
        self._restoring: asyncio.Task[bool] | None = None

    @property
    def revision(self) -> str:
        """Of the set that the server should hold."""
        return self._revision

    async def push(self, wanted: PolicySet) -> None:
        """Put `wanted` on the server in place of whatever gateways have put there.

        Raises:
            GatewayError: why it could not be; the set of before is put back as far as possible.
        """
        async with self._lock:
            before = self._set
            self._set, self._revision = wanted, wanted.revision
            try:
                if await self._served() != wanted.revision:
                    await self._replace(wanted)
            except GatewayError:
                self._set, self._revision = before, before.revision if before is not None else ""
                if before is not None:
                    await self._put_back(before)
                raise

    async def restore(self) -> bool:
        """Put the set back if the server has none; whether it is there now. Any number may wait for one try."""
        if self._restoring is None:
            self._restoring = self._tasks.spawn("policies to the OPA server", self._restore())
            self._restoring.add_done_callback(self._restored)
        restoring = self._restoring
        await asyncio.wait({restoring}, timeout=RESTORE_SECONDS_MAX)
        return restoring.done() and not restoring.cancelled() and restoring.result()

    def _restored(self, task: asyncio.Task[bool]) -> None:
        if task.cancelled() or task.exception() is not None or task.result():
            self._restoring = None
        else:
            # The answer stands for a moment, so that a server that refuses is not asked with every query.
            asyncio.get_running_loop().call_later(RESTORE_AGAIN_SECONDS, self._forget)

    def _forget(self) -> None:
        self._restoring = None

    async def _restore(self) -> bool:
        async with self._lock:
            wanted = self._set
            if wanted is None:
                return False
            try:
                found = await self._served()
                if found not in ("", wanted.revision):
                    _log.error(
                        "the OPA server holds the policies %s of another gateway, ours are %s", found, wanted.revision
                    )
                    return False
                if not found:
                    _log.warning("the OPA server has lost the policies %s; they are put there again", wanted.revision)
                    await self._replace(wanted)
            except GatewayError as error:
                _log.error("%s", error.message)
                return False
        return True

    async def _put_back(self, before: PolicySet) -> None:
        try:
            await self._replace(before)
        except GatewayError as error:
            _log.error("the policies in use could not be put back, every query is denied: %s", error.message)

    async def _served(self) -> str:
        """The revision that the server says is whole; empty when none is."""
        body = await _told(self._server.ask({}, (PACKAGE, f"{SERVED}/revision"), {}))
        revision = body.get("result")
        return revision if isinstance(revision, str) else ""

    async def _replace(self, wanted: PolicySet) -> None:
        server, revision = self._server, wanted.revision
        present = await _present(server)
        await _until_done({name: _removing(server, name) for name in sorted(present, reverse=True) if _is_ours(name)})
        modules = pushed_modules(wanted)
        await _until_done({name: _putting(server, name, text) for name, text in modules.items()})
        data = {"settings": dict(wanted.settings), "revision": revision}
        await _told(server.put_data(PACKAGE, data))
        if await self._served() != revision:
            raise _failure("it took the policies, but does not serve them; is another gateway pushing to it?")


async def check_server(server: OpaServer) -> None:
    """Whether policies could be put on the server. Nothing is changed there. Raises `GatewayError` with the cause."""
    await _present(server)


async def _present(server: OpaServer) -> Mapping[str, Mapping[str, object]]:
    """What the server holds by id. Raises `GatewayError` also when other policies stand in the way."""
    present = await _told(server.policies())
    _refuse_foreign(present)
    return present


def pushed_modules(wanted: PolicySet) -> dict[str, str]:
    """The modules as they are put on a server, by id: those of the set, marked, and the one that knows the marks."""
    mark = f"gateway_set_{wanted.revision}"
    modules = wanted.bundle.modules
    # What functions are called in comes after what defines them, mostly: `_until_done` sees to the rest.
    names = sorted(modules, key=lambda name: (not name.startswith("lib/"), name))
    pushed = {f"{ID_PREFIX}{name}": f"{modules[name]}\n\n{mark} := true\n" for name in names}
    marks = sorted({f"\tdata.{package_of(text)}.{mark}" for text in modules.values()})
    pushed[f"{ID_PREFIX}{SERVED}.rego"] = "\n".join(
        [
            f"package {PACKAGE}.{SERVED}\n",
            f'revision := "{wanted.revision}" if {{',
            f'\tdata.{PACKAGE}.revision == "{wanted.revision}"',
            *marks,
            "}\n",
            f"decision := data.{PACKAGE}.decision\n",
        ]
    )
    return pushed


def package_of(text: str) -> str:
    """The package that a checked module declares."""
    declared = _PACKAGE.search(text)
    assert declared is not None, "a module that passed the check declares its package"
    return declared[1]


def _is_ours(name: str) -> bool:
    return name.startswith(ID_PREFIX)


def _refuse_foreign(present: Mapping[str, Mapping[str, object]]) -> None:
    for name, about in present.items():
        path = str(about.get("path", "")).rpartition("/data/")[2]
        if not _is_ours(name) and (path == PACKAGE or path.startswith(ID_PREFIX)):
            what = f"its policy {name} is of the package {PACKAGE} and not the gateway's"
            raise _failure(f"{what}; remove it, or write push: false to use the server's own policies")


def _putting(server: OpaServer, name: str, text: str) -> _Step:
    return lambda: server.put_policy(name, text)


def _removing(server: OpaServer, name: str) -> _Step:
    return lambda: server.remove_policy(name)


async def _until_done(steps: Mapping[str, _Step]) -> None:
    """Take all steps; those that only others make possible are tried again after these. Raises `GatewayError`."""
    left = dict(steps)
    while left:
        refused: dict[str, GatewayError] = {}
        for name, take in left.items():
            try:
                await _told(take())
            except GatewayError as error:
                refused[name] = error
        if len(refused) == len(left):
            name, error = next(iter(refused.items()))
            raise GatewayError(error.reason, f"{error.message} (policy {name})") from error
        left = {name: left[name] for name in refused}


async def _told(call: Awaitable[T]) -> T:
    """What the server says to one call. Raises `GatewayError` when it refuses or cannot be reached."""
    try:
        return await call
    except opa_errors.RegoParseError as error:
        raise _failure(f"it refuses a policy {error}") from error
    except (opa_errors.DeletePolicyError, opa_errors.PolicyNotFoundError) as error:
        raise _failure(f"it refuses: {error.message}") from error
    except aiohttp.ClientResponseError as error:
        raise _failure(f"it answered {error.status} {error.message}") from error
    except TimeoutError as error:
        raise _failure(f"it took longer than {PUSH_SECONDS_MAX:g} seconds") from error
    except aiohttp.ClientError as error:
        raise _failure(f"it cannot be reached ({error})") from error


def _failure(why: str) -> GatewayError:
    return GatewayError(Reason.POLICY_FAILED, f"the policies could not be put on the OPA server: {why}")
