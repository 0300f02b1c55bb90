"""Git worktrees of agents (W59): branched off from the folder's HEAD, removed when nothing was changed in them, else
kept with their branch. The main checkout is never touched. They lie in the repository's own git directory.

A worktree in use is held by a lock on its directory, which goes with the process: what an earlier process left behind
unchanged is removed when the repository is used again.
"""

import asyncio
import contextlib
import fcntl
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.core.model import Worktree
from runtime.ports import WorkspaceRefused
from runtime.workspace.enclosed import problem_of
from runtime.workspace.folders import Folders
from runtime.workspace.git import CHECKOUT_SECONDS, Git, GitFailed, Repository

WORKTREES_DIRECTORY = "ringfence-worktrees"
BRANCH_PREFIX = "ringfence/"
BASE_FILE = "ringfence-base"
"""In the git directory of each worktree: the commit it was branched off from."""
NAMES_TRIED_MAX = 20
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,99}")


@dataclass(slots=True)
class GitCheckout:
    """A worktree while it is used. `directory` is its top; `folder` what the agent works in."""

    git: Git
    common: str
    directory: str
    folder: str
    branch: str
    base: str
    git_directory: str
    lock: int
    creating: asyncio.Lock
    ended: Worktree | None = field(default=None)

    async def finish(self) -> Worktree:
        """Remove it if nothing was changed in it, else keep it; kept as well if that cannot be told."""
        if self.ended is None:
            try:
                changed = await is_changed(self.git, Repository(self.directory, self.git_directory), self.base)
            except GitFailed:
                changed = True
            gone = not changed and await self._remove()
            path, branch = (None, None) if gone else (self.directory, self.branch)
            self.ended = Worktree(path=path, branch=branch, base=self.base, changed=changed)
            os.close(self.lock)
        return self.ended

    async def abandon(self) -> None:
        """Remove what there is of it: it could not be made."""
        await remove(self.git, self.common, self.directory, branch=self.branch, base=self.base)
        self.release()

    def release(self) -> None:
        """Let go of the name, when there is nothing under it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)
        os.close(self.lock)

    async def _remove(self) -> bool:
        async with self.creating:
            return await remove(self.git, self.common, self.directory, branch=self.branch, base=self.base)


class GitWorkspaces:
    """Folders beneath the configured roots, and worktrees of those that are in a git repository."""

    def __init__(self, folders: Folders, git: Git | None = None) -> None:
        self._folders = folders
        self._git = git or Git()
        self._creating: dict[str, asyncio.Lock] = {}

    def check(self, folder: str) -> str:
        """The folder without links. Raises `WorkspaceRefused`."""
        return self._folders.check(folder)

    async def branch_off(self, folder: str, name: str) -> GitCheckout:
        """Raises `WorkspaceRefused`; then there is no worktree, and nothing was left behind."""
        real = self.check(folder)
        if not _NAME.fullmatch(name) or name.endswith((".lock", ".")):
            raise WorkspaceRefused(f"{name!r} is no name for a worktree: letters, digits, dots and dashes.")
        try:
            common, prefix, base = await self._look(real)
            new = common not in self._creating
            creating = self._creating.setdefault(common, asyncio.Lock())
            async with creating:
                if new:
                    await sweep(self._git, common)
                checkout = await self._create(common, prefix, base, name=name)
            return await _fill(checkout)
        except (GitFailed, OSError) as error:
            raise WorkspaceRefused(
                f"No worktree of {real} could be made: {error}. Agents with isolation need a git repository with at "
                "least one commit."
            ) from None

    async def still_there(self, worktree: Worktree) -> bool:
        """One that was kept has to be there with its branch; of an unchanged one nothing is missing (W161)."""
        if worktree.path is None or worktree.branch is None:
            return not worktree.changed
        if not await asyncio.to_thread(os.path.isdir, worktree.path):
            return False
        try:
            await self._git.run(
                Repository(worktree.path), "rev-parse", "--verify", "--quiet", f"refs/heads/{worktree.branch}"
            )
        except GitFailed:
            return False
        return True

    async def _look(self, folder: str) -> tuple[str, str, str]:
        """Git directory, path of the folder in the repository, and commit. Raises `GitFailed`."""
        here = Repository(folder)
        found = await self._git.run(
            here, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir", "--show-prefix"
        )
        top, common, prefix = f"{found}\n".split("\n")[:3]
        common = self._inside(top, common)
        problem = await asyncio.to_thread(problem_of, common, WORKTREES_DIRECTORY)
        if problem is not None:
            raise GitFailed(f"its repository leads out of itself: {problem}")
        try:
            base = await self._git.run(here, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitFailed:
            raise GitFailed("its repository has no commit yet") from None
        if prefix:
            await self._git.run(here, "cat-file", "-e", f"{base}:{prefix.rstrip('/')}")
        return common, prefix, base

    def _inside(self, top: str, common: str) -> str:
        """The git directory without links, if it and the checkout are in the roots. Raises `GitFailed`."""
        common = os.path.realpath(common)
        for place in (os.path.realpath(top), common.removesuffix("/.git")):
            if not self._folders.holds(place):
                raise GitFailed(f"its repository is at {place}, outside of the folders that runs may use")
        return common

    async def _create(self, common: str, prefix: str, base: str, *, name: str) -> GitCheckout:
        chosen, directory, lock = _reserve(common, name)
        checkout = GitCheckout(
            git=self._git,
            common=common,
            directory=directory,
            folder=os.path.join(directory, prefix).rstrip("/"),
            branch=f"{BRANCH_PREFIX}{chosen}",
            base=base,
            git_directory=f"{common}/worktrees/{chosen}",
            lock=lock,
            creating=self._creating[common],
        )
        main = Repository(common, common)
        try:
            if await self._git.run(main, "for-each-ref", f"refs/heads/{checkout.branch}"):
                raise GitFailed(f"the branch {checkout.branch} already exists")
        except BaseException:
            checkout.release()
            raise
        try:
            await self._git.run(main, "branch", "--no-track", checkout.branch, base)
            await self._git.run(main, "worktree", "add", "--no-checkout", directory, checkout.branch)
            _write(f"{checkout.git_directory}/{BASE_FILE}", base)
        except BaseException:
            await checkout.abandon()
            raise
        return checkout


async def _fill(checkout: GitCheckout) -> GitCheckout:
    """Write its files. May take long, and several may at once."""
    inside = Repository(checkout.directory, checkout.git_directory)
    try:
        off = await checkout.git.filters_off(inside)
        await checkout.git.run(inside, "reset", "--hard", "--quiet", settings=off, seconds=CHECKOUT_SECONDS)
    except BaseException:
        await checkout.abandon()
        raise
    return checkout


async def is_changed(git: Git, repository: Repository, base: str) -> bool:
    """Are there commits, or differences, or files that are not ignored? Raises `GitFailed`."""
    if await git.run(repository, "rev-parse", "--verify", "HEAD^{commit}") != base:
        return True
    off = await git.filters_off(repository)
    compared = await git.run(
        *(repository, "status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=all"),
        settings=off,
    )
    return bool(compared) or await _has_filled_submodule(git, repository)


async def _has_filled_submodule(git: Git, repository: Repository) -> bool:
    """Git is not asked about them, since it would run in them. A fresh worktree has them empty."""
    listed = await git.run(repository, "ls-files", "--stage", "-z")
    modules = [row.partition("\t")[2] for row in listed.split("\0") if row.startswith("160000 ")]
    return await asyncio.to_thread(lambda: any(not _is_empty(f"{repository.folder}/{path}") for path in modules))


def _is_empty(path: str) -> bool:
    try:
        return not os.path.islink(path) and not os.listdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False


async def remove(git: Git, common: str, directory: str, *, branch: str, base: str) -> bool:
    """Worktree and branch, unless the branch has moved on."""
    main = Repository(common, common)
    removed = True
    for step in (
        ("worktree", "remove", "--force", "--force", directory),
        ("update-ref", "-d", f"refs/heads/{branch}", base),
    ):
        try:
            await git.run(main, *step)
        except GitFailed:
            removed = False
    return removed


async def sweep(git: Git, common: str) -> None:
    """Remove what no process uses any more and nobody has changed. What cannot be told is left."""
    home = f"{common}/{WORKTREES_DIRECTORY}"
    with contextlib.suppress(GitFailed):
        await git.run(Repository(common, common), "worktree", "prune")
    for name in _entries(home):
        lock = _hold(f"{home}/{name}")
        if lock is None:
            continue
        try:
            await _sweep_one(git, common, f"{home}/{name}")
        finally:
            os.close(lock)


async def _sweep_one(git: Git, common: str, directory: str) -> None:
    branch = f"{BRANCH_PREFIX}{os.path.basename(directory)}"
    with contextlib.suppress(GitFailed, OSError):
        if not _entries(directory):
            os.rmdir(directory)
            return
        git_directory = f"{common}/worktrees/{os.path.basename(directory)}"
        base = _read(f"{git_directory}/{BASE_FILE}")
        if not await is_changed(git, Repository(directory, git_directory), base):
            await remove(git, common, directory, branch=branch, base=base)


def _reserve(common: str, name: str) -> tuple[str, str, int]:
    """A directory under a name that is free, and its lock. A name that is taken gets a number."""
    home = f"{common}/{WORKTREES_DIRECTORY}"
    os.makedirs(home, mode=0o700, exist_ok=True)
    for number in range(1, NAMES_TRIED_MAX + 1):
        chosen = name if number == 1 else f"{name}-{number}"
        if any(os.path.lexists(f"{common}/{taken}/{chosen}") for taken in (f"refs/heads/{BRANCH_PREFIX}", "worktrees")):
            continue
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{home}/{chosen}", mode=0o700)
            lock = _hold(f"{home}/{chosen}")
            if lock is not None:
                return chosen, f"{home}/{chosen}", lock
    raise GitFailed(f"{NAMES_TRIED_MAX} worktrees named {name} are there already: remove those that are not needed")


def _hold(directory: str) -> int | None:
    """A lock that lasts until it is closed or the process ends; None: somebody has it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _entries(directory: str) -> Sequence[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return ()


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read(100).strip()


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="ascii") as file:
        file.write(f"{text}\n")
