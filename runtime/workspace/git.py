"""Runs git so that nothing of a repository is executed by it: its configuration, hooks and attributes may be hostile.

Off are: hooks, the file system monitor, filters on check-out and on comparing, submodules, every protocol (a partial
clone would fetch), prompts, pagers, settings of the account and the system. What git itself finds odd, it refuses: a
repository of another account, say. Reach: files kept by a filter (Git LFS) come out as their pointers.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GIT_SECONDS = 60.0
CHECKOUT_SECONDS = 600.0
ERROR_CHARS_MAX = 500
_OFF = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.askPass": "false",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.bareRepository": "explicit",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
}
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
_FILTER_PROGRAM = re.compile(r"filter\.(.*)\.(clean|smudge|process)", re.DOTALL)


class GitFailed(Exception):
    """What git said."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where git works. `git_directory` None: it looks for it from `folder`, and believes what is there."""

    folder: str
    git_directory: str | None = None


class Git:
    """`path`: the program; None: the one on PATH."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or shutil.which("git")

    async def run(
        self,
        repository: Repository,
        *arguments: str,
        seconds: float = GIT_SECONDS,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """What it prints, without the end of the last line. Raises `GitFailed`; cancelled, it is killed."""
        if self.path is None:
            raise GitFailed("there is no git on PATH")
        process = await self._start(self.path, repository, arguments, settings or {})
        try:
            async with asyncio.timeout(seconds):
                printed, complaint = await process.communicate()
        except TimeoutError:
            raise GitFailed(f"git {arguments[0]} took longer than {seconds:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()
        if process.returncode != 0:
            said = complaint.decode("utf-8", "replace").strip() or f"it ended with {process.returncode}"
            raise GitFailed(f"git {arguments[0]}: {said[:ERROR_CHARS_MAX]}")
        return os.fsdecode(printed).removesuffix("\n")

    async def _start(
        self, path: str, repository: Repository, arguments: Sequence[str], settings: Mapping[str, str]
    ) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *(path, *arguments),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd=repository.folder,
                env=_environment(repository, settings),
                start_new_session=True,
            )
        except OSError as error:
            raise GitFailed(f"git could not be started in {repository.folder}: {error.strerror}") from None

    async def filters_off(self, repository: Repository) -> dict[str, str]:
        """Settings that switch every filter off that is configured where this repository's files are written.

        To be asked there, since what is configured may depend on the directory and the branch.
        """
        listed = await self.run(repository, "config", "--list", "--name-only", "-z")
        return switch_off(listed.split("\0"))


def switch_off(names: Sequence[str]) -> dict[str, str]:
    """An empty program is none, and a filter that is required would fail without one."""
    off: dict[str, str] = {}
    for name in names:
        found = _FILTER_PROGRAM.fullmatch(name)
        if found is not None:
            off |= {name: "", f"filter.{found[1]}.required": "false"}
    return off


def _environment(repository: Repository, settings: Mapping[str, str]) -> dict[str, str]:
    environment = dict(_ENVIRONMENT)
    if repository.git_directory is not None:
        environment |= {"GIT_DIR": repository.git_directory, "GIT_WORK_TREE": repository.folder}
    chosen = _OFF | dict(settings)
    environment["GIT_CONFIG_COUNT"] = str(len(chosen))
    for number, (name, value) in enumerate(chosen.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment
