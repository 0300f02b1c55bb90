"""Finds a script by name or path, afresh each time (W02, W06, W07): in the workspace first, then its owner's library.

A path names a file below the workspace, after links are resolved, or the script of an earlier run (`run:<id>`).
"""

import asyncio
import contextlib
import errno
import os
import re
from pathlib import Path

from gateway.contract import RUN_ID
from runtime.check import prepare
from runtime.core.journal import RunLine, decode_line
from runtime.core.limits import SCRIPT_BYTES_MAX
from runtime.core.model import Owner, RunId
from runtime.ports import Found, RunStore, ScriptMissing
from runtime.tools.beneath import Folder
from runtime.tools.refusal import Refused

FOLDER = Path(".claude") / "workflows"
SUFFIXES = (".js", ".mjs")
FILES_MAX = 200
"""Looked at for a name that is not a file's."""
RUN_PATH = "run:"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Library:
    """Implements `ports.Scripts`."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    async def find(self, owner: Owner, workspace: str | None, *, name: str | None, path: str | None) -> Found:
        """Raises `ScriptMissing`."""
        if path is not None:
            if path.startswith(RUN_PATH):
                return await self._of_run(owner, RunId(path.removeprefix(RUN_PATH)))
            return await asyncio.to_thread(read_below, workspace, path)
        assert name is not None
        if NAME.fullmatch(name) is None:
            raise ScriptMissing(f"{name[:64]!r} is no name of a workflow: small letters, digits, '.', '_' and '-'")
        found = None if workspace is None else await asyncio.to_thread(find_named, Path(workspace), name)
        if found is not None:
            return found
        saved = await self._store.saved_script(owner.user, name)
        if saved is None:
            raise ScriptMissing(f"there is no workflow {name}: neither in {FOLDER} of the workspace nor in the library")
        return Found(saved, None)

    async def _of_run(self, owner: Owner, run: RunId) -> Found:
        row = await self._store.find(run) if RUN_ID.fullmatch(run) else None
        if row is None or row.owner.user != owner.user:
            raise ScriptMissing(f"there is no run {run[:64]} whose script you may use")
        ((_, first),) = await self._store.lines(run, most=1)
        header = decode_line(first)
        assert isinstance(header, RunLine)
        return Found(header.spec.script, header.spec.script_path)


def read_below(workspace: str | None, path: str) -> Found:
    """A file of the workspace. Raises `ScriptMissing`; nothing outside is opened."""
    if workspace is None:
        raise ScriptMissing("a script path needs a workspace to be found in; give one, or the script itself")
    if "\0" in path or path.startswith(("\\\\", "//")):
        raise ScriptMissing(f"{path[:200]!r} is no path in the workspace")
    top = os.path.realpath(workspace)
    try:
        with contextlib.closing(Folder(top)) as folder, folder.locate(path) as spot:
            if spot.status is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return Found(_read(folder.open_file(spot), path), os.path.join(top, *spot.parts))
    except Refused as error:
        raise ScriptMissing(f"{path[:200]} is not read: {error}") from None
    except OSError as error:
        raise ScriptMissing(f"{path[:200]} cannot be read in {top} ({error.strerror or 'unreadable'})") from None


def find_named(workspace: Path, name: str) -> Found | None:
    """The file of that name, else one whose `meta` says it."""
    folder = workspace / FOLDER
    for suffix in SUFFIXES:
        if os.path.isfile(folder / f"{name}{suffix}"):
            return read_below(str(workspace), str(FOLDER / f"{name}{suffix}"))
    try:
        files = sorted(each for each in os.listdir(folder) if each.endswith(SUFFIXES))
    except OSError:
        return None
    for each in files[:FILES_MAX]:
        try:
            found = read_below(str(workspace), str(FOLDER / each))
        except ScriptMissing:
            continue
        if prepare(found.source).meta.get("name") == name:
            return found
    return None


def _read(descriptor: int, path: str) -> str:
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(SCRIPT_BYTES_MAX + 1)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ScriptMissing(f"{path[:200]} is not UTF-8") from None
