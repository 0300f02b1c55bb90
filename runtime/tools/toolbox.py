"""The tools of an agent: which there are, and what each call answers. Implements `ports.Toolboxes` and `ports.Tools`.

A call never raises for what the agent asked: refusals and errors of the system are answers, in words for the agent.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any, assert_never

from runtime.ports import ToolAnswer, WorkspaceRefused
from runtime.tools.beneath import Folder, Spot
from runtime.tools.bubblewrap import Bubblewrap, NoSandbox, Ran
from runtime.tools.editing import edit, encode
from runtime.tools.files import FILE_BYTES_MAX, Whole, read_whole, replace_whole
from runtime.tools.inputs import (
    BASH_MS_DEFAULT,
    BASH_MS_MAX,
    COMMAND_BYTES_MAX,
    TOOL_NAMES,
    BashInput,
    EditInput,
    GlobInput,
    GrepInput,
    Input,
    ReadInput,
    WriteInput,
    definition_of,
    parse_input,
)
from runtime.tools.protected import refuse_protected
from runtime.tools.reading import show_file
from runtime.tools.refusal import Refused
from runtime.tools.seeking import seek

SEARCHES_MAX = 4
"""Processes that search at the same time, over all agents."""


class FolderToolboxes:
    """Opens the tools of folders. `shell`: what `find_bubblewrap` found."""

    def __init__(self, shell: Bubblewrap | NoSandbox) -> None:
        self.shell = shell
        self._searches = asyncio.Semaphore(SEARCHES_MAX)
        self._writing = threading.Lock()

    async def open(self, folder: str | None, names: Sequence[str] | None) -> "FolderTools":
        """Without a folder there are no tools. Raises `WorkspaceRefused`."""
        known = [name for name in TOOL_NAMES if name != "Bash" or isinstance(self.shell, Bubblewrap)]
        offered = [name for name in known if folder is not None and (names is None or name in names)]
        opened = None if folder is None else await asyncio.to_thread(_open_folder, folder)
        return FolderTools(self, opened, offered)

    async def search(self, folder: Folder, asked: GlobInput | GrepInput) -> str:
        """Raises `Refused`."""
        async with self._searches:
            return await seek(folder, asked)

    def replace(self, folder: Folder, asked: EditInput | WriteInput, seen: dict[tuple[str, ...], bytes]) -> str:
        """Edit or Write, one at a time over all agents, so that none undoes what another wrote meanwhile."""
        with self._writing:
            return _edit(folder, asked, seen) if isinstance(asked, EditInput) else _write(folder, asked, seen)


class FolderTools:
    """The tools of one agent in one folder. `seen`: SHA-256 of each file as the agent last knew it."""

    def __init__(self, toolboxes: FolderToolboxes, folder: Folder | None, offered: Sequence[str]) -> None:
        self._toolboxes = toolboxes
        self._folder = folder
        self._offered = offered
        self._seen: dict[tuple[str, ...], bytes] = {}
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def definitions(self) -> Sequence[dict[str, Any]]:
        return [definition_of(name) for name in self._offered]

    async def call(self, name: str, tool_input: dict[str, Any], *, idempotency_key: str) -> ToolAnswer:
        """Only what was offered is done."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            answer = await self._answer(name, tool_input, idempotency_key)
        except Refused as refusal:
            answer = ToolAnswer(content=str(refusal), is_error=True)
        except OSError as error:
            answer = ToolAnswer(content=f"{name} failed: {_plain(error)}.", is_error=True)
        finally:
            self._running.discard(task)
        return _sendable(answer)

    async def close(self) -> None:
        """Calls that still run are cancelled; returns when they have ended."""
        running = self._running - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if self._folder is not None:
            self._folder.close()

    async def _answer(self, name: str, tool_input: dict[str, Any], idempotency_key: str) -> ToolAnswer:
        if self._folder is None or name not in self._offered:
            raise Refused(self._why_not(name))
        asked: Input = parse_input(name, tool_input)
        match asked:
            case ReadInput():
                return ToolAnswer(content=await asyncio.to_thread(_read, self._folder, asked, self._seen))
            case EditInput() | WriteInput():
                done = await asyncio.to_thread(self._toolboxes.replace, self._folder, asked, self._seen)
                return ToolAnswer(content=done)
            case GlobInput() | GrepInput():
                return ToolAnswer(content=await self._toolboxes.search(self._folder, asked))
            case BashInput():
                return await self._run(self._folder, asked, idempotency_key)
            case _:
                assert_never(asked)

    async def _run(self, folder: Folder, asked: BashInput, idempotency_key: str) -> ToolAnswer:
        shell = self._toolboxes.shell
        if isinstance(shell, NoSandbox):
            raise Refused(self._why_not("Bash"))
        if len(encode(asked.command)) > COMMAND_BYTES_MAX or "\0" in asked.command:
            raise Refused(f"The command is longer than {COMMAND_BYTES_MAX} bytes or holds a NUL: write a script first.")
        milliseconds = min(asked.timeout or BASH_MS_DEFAULT, BASH_MS_MAX)
        ran = await shell.run(folder, asked.command, seconds=milliseconds / 1000, idempotency_key=idempotency_key)
        return _told(ran, milliseconds)

    def _why_not(self, name: str) -> str:
        if name == "Bash" and isinstance(self._toolboxes.shell, NoSandbox):
            return f"Bash cannot be used here: {self._toolboxes.shell.reason}."
        return f"There is no tool {name} here. There is: {', '.join(self._offered) or 'none'}."


def _open_folder(path: str) -> Folder:
    if not os.path.isabs(path) or os.path.realpath(path) != path:
        raise WorkspaceRefused(f"{path} is no absolute path without links: give the folder as it really is.")
    try:
        return Folder(path)
    except OSError as error:
        raise WorkspaceRefused(f"The folder {path} cannot be opened: {_plain(error)}.") from None


def _read(folder: Folder, asked: ReadInput, seen: dict[tuple[str, ...], bytes]) -> str | list[dict[str, Any]]:
    with folder.locate(asked.file_path) as spot:
        content = read_whole(folder, spot).content
        shown = show_file(content, str(spot), offset=asked.offset, limit=asked.limit)
        seen[spot.parts] = _digest(content)
        return shown


def _edit(folder: Folder, asked: EditInput, seen: dict[tuple[str, ...], bytes]) -> str:
    with folder.locate(asked.file_path, follow=False) as spot:
        whole = _known(folder, spot, seen)
        if whole is None:
            raise Refused(f"There is no file {spot}: use Write to make one.")
        content, count = edit(whole.content, asked)
        replace_whole(spot, content, mode=whole.mode)
        seen[spot.parts] = _digest(content)
        return f"Changed {spot} in {count} place{'s' if count > 1 else ''}."


def _write(folder: Folder, asked: WriteInput, seen: dict[tuple[str, ...], bytes]) -> str:
    content = encode(asked.content)
    if len(content) > FILE_BYTES_MAX:
        raise Refused(f"The content is larger than {FILE_BYTES_MAX} bytes.")
    with folder.locate(asked.file_path, follow=False, make=True) as spot:
        whole = _known(folder, spot, seen)
        replace_whole(spot, content, mode=None if whole is None else whole.mode)
        seen[spot.parts] = _digest(content)
        return f"{'Wrote' if whole is None else 'Replaced'} {spot} ({len(content)} bytes)."


def _known(folder: Folder, spot: Spot, seen: dict[tuple[str, ...], bytes]) -> Whole | None:
    """The file, if it may be written and is as the agent knows it; None: there is none."""
    refuse_protected(spot.parts)
    if spot.is_link:
        raise Refused(f"{spot} is a link: nothing is written through links. Name the file that it leads to.")
    if spot.status is None:
        return None
    whole = read_whole(folder, spot)
    if spot.parts not in seen:
        raise Refused(f"{spot} has not been read yet: read it first.")
    if seen[spot.parts] != _digest(whole.content):
        raise Refused(f"{spot} has changed since it was read: read it again.")
    return whole


def _told(ran: Ran, milliseconds: float) -> ToolAnswer:
    if ran.code == 0:
        return ToolAnswer(content=ran.text or "(no output)")
    how = f"Ended after {milliseconds:g} ms: its time was up" if ran.code is None else f"Exit code {ran.code}"
    return ToolAnswer(content=f"{how}\n{ran.text}".rstrip(), is_error=True)


def _sendable(answer: ToolAnswer) -> ToolAnswer:
    """Names of files need not be valid text; what is sent has to be."""
    if isinstance(answer.content, str):
        text = answer.content.encode("utf-8", "backslashreplace").decode()
        return ToolAnswer(content=text, is_error=answer.is_error)
    return answer


def _plain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
