"""Bash in bubblewrap: a namespace of its own for everything, no network, no capabilities, a clean environment, bounded
in time, memory, processes and output. What it sees of the file system is `layout.py`'s.

Reach: the limit of memory holds for each process. That of processes does not hold when the gateway runs as root, whom
the kernel lets pass; then only the time limit ends a fork bomb. There is no filter of system calls.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Generator
from dataclasses import dataclass

from runtime.tools.beneath import Folder
from runtime.tools.layout import PATH, Layout, lay_out
from runtime.tools.output import Output
from runtime.tools.refusal import Refused

PROBE_SECONDS = 10.0
END_SECONDS = 5.0
PROCESSES_MAX = 1_024
OPEN_FILES_MAX = 1_024
MEMORY_BYTES_MAX = 4 * 1024 * 1024 * 1024
FILE_BYTES_MAX = 2 * 1024 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
_ISOLATED = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
    *("--die-with-parent", "--new-session", "--clearenv"),
)
_LIMITS = (
    ("c", 0),
    ("u", PROCESSES_MAX),
    ("n", OPEN_FILES_MAX),
    ("d", MEMORY_BYTES_MAX // 1024),
    ("f", FILE_BYTES_MAX // 1024),
)
_BEGIN = "".join(f"ulimit -{name} {value} 2>/dev/null; " for name, value in _LIMITS) + 'exec bash --norc -c "$1"'
"""A limit that the system sets lower already stays as it is."""


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """Why commands cannot be run here."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `code` None: its time was up."""

    code: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bwrap that works here."""

    path: str

    async def run(self, folder: Folder, command: str, *, seconds: float, idempotency_key: str) -> Ran:
        """Raises `Refused`. When it returns or is cancelled, everything that the command started is gone."""
        with lay_out(folder) as layout:
            variables = {"RINGFENCE_IDEMPOTENCY_KEY": idempotency_key, "PWD": folder.path}
            process = await self._start(layout, command, variables)
            output = Output()
            try:
                async with asyncio.timeout(seconds):
                    return Ran(await _drain(process, output), output.text())
            except TimeoutError:
                return Ran(None, output.text())
            finally:
                await _end(process)

    async def _start(self, layout: Layout, command: str, variables: dict[str, str]) -> Process:
        settings = {"PATH": PATH, "HOME": "/tmp/home", "LANG": "C.UTF-8", "TERM": "dumb", "TMPDIR": "/tmp", **variables}
        environment = [part for name, value in settings.items() for part in ("--setenv", name, value)]
        try:
            return await asyncio.create_subprocess_exec(
                *(self.path, *_ISOLATED, *layout.arguments, *environment),
                *("--", "bash", "--noprofile", "--norc", "-c", _BEGIN, "bash", command),
                pass_fds=layout.descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Refused(f"The command could not be started: {error}.") from None


async def find_bubblewrap(search_path: str | None = None) -> Bubblewrap | NoSandbox:
    """The bwrap on PATH, if a sandbox can really be had with it. `search_path` stands in for PATH."""
    path = shutil.which("bwrap", path=search_path)
    if path is None:
        return NoSandbox("there is no bwrap on PATH: install the package bubblewrap")
    found = Bubblewrap(path)
    try:
        with _scratch_folder() as folder:
            ran = await found.run(folder, "true", seconds=PROBE_SECONDS, idempotency_key="probe")
    except (Refused, OSError) as error:
        return NoSandbox(f"{path} does not work here: {error}")
    if ran.code != 0:
        return NoSandbox(
            f"{path} cannot make a sandbox here ({ran.text[:300] or 'it says nothing'}): it has to know --bind-fd, and "
            "needs user namespaces, which containers and some systems switch off"
        )
    return found


@contextlib.contextmanager
def _scratch_folder() -> Generator[Folder]:
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.closing(Folder(os.path.realpath(directory))) as folder:
            yield folder


async def _drain(process: Process, output: Output) -> int:
    """Its exit code. Asyncio tells of the end only when all output was read."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(CHUNK_BYTES):
        output.feed(chunk)
    return await process.wait()


async def _end(process: Process) -> None:
    """Kill bwrap, and with it the first process inside; wait for that one, which goes after all others inside."""
    if process.returncode is not None:
        return
    inside = _children(process.pid)
    try:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        for descriptor in inside:
            await _gone(descriptor)
        await _drain(process, Output())
    finally:
        for descriptor in inside:
            os.close(descriptor)


def _children(pid: int) -> list[int]:
    """Descriptors of the processes, since their numbers may come to mean others."""
    found: list[int] = []
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as children:
        for child in children.read().split():
            found.append(os.pidfd_open(int(child)))
    return found


async def _gone(descriptor: int) -> None:
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(END_SECONDS):
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
