"""One folder, and every path in it: walked name by name on open descriptors; each link is read and judged before it is
followed, wherever it points. Does not read or write files (`files.py`) and confines no programs (`bubblewrap.py`).

Nothing is ever opened by a path of more than one name, so what is swapped meanwhile cannot lead out of the folder.
Rejected: `openat2` with RESOLVE_BENEATH. It gives the same guarantee where a kernel has it, but cannot tell which link
led out, refuses absolute links that stay inside, and makes no directories; the walk would be needed beside it.
Reach: a directory that somebody with rights outside moves out of the folder while a walk stands in it is not noticed.
"""

import contextlib
import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from runtime.tools.protected import refuse_protected
from runtime.tools.refusal import Refused

PATH_BYTES_MAX = 4_095
DEPTH_MAX = 128
LINKS_MAX = 40
STEPS_MAX = 2_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SWAPPED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What opening a directory gives that was swapped for something else since it was looked at."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a path ends. `directory` is open while the walk is; `name` is in it, if `status` is not None."""

    directory: int
    name: str
    parts: tuple[str, ...]
    """The names from the folder to here, without links; empty: the folder itself."""
    status: os.stat_result | None

    @property
    def is_link(self) -> bool:
        """Only when the walk was told not to follow the last name."""
        return self.status is not None and stat.S_ISLNK(self.status.st_mode)

    def __str__(self) -> str:
        return "/".join(self.parts) or "."


class Folder:
    """A directory that is held open until `close`. Usable from several threads."""

    def __init__(self, path: str) -> None:
        """Raises `OSError`; a link at the end of `path` is not followed."""
        self.path = path
        self._descriptor = os.open(path, _DIRECTORY)
        self.mount = mount_of(self._descriptor)
        self._closed = False
        self._lock = threading.Lock()

    def duplicate(self) -> int:
        """A descriptor of the folder for the caller to close. Raises `Refused` after `close`.

        Each walk has its own, so that none goes on with a number that means something else by now.
        """
        with self._lock:
            if self._closed:
                raise Refused("The folder is no longer open: this task has ended.")
            return os.dup(self._descriptor)

    def close(self) -> None:
        """Walks that are under way end undisturbed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)

    @contextlib.contextmanager
    def locate(self, path: str, *, follow: bool = True, make: bool = False) -> Generator[Spot]:
        """Walk to `path`, relative to the folder or absolute. `follow`: also a link as the last name. `make`:
        directories on the way that are missing. Raises `Refused` and `OSError`.
        """
        walk = _Walk(self, path, [self.duplicate()], deque(self.beneath(path)))
        try:
            yield walk.run(follow=follow, make=make)
        finally:
            for descriptor in walk.stack:
                os.close(descriptor)

    def open_file(self, spot: Spot) -> int:
        """An ordinary file, for reading. Raises `Refused` and `OSError`."""
        if spot.status is None:
            raise Refused(f"There is no file {spot}.")
        _refuse_unusual(spot.status, spot)
        descriptor = os.open(spot.name, _FILE, dir_fd=spot.directory)
        try:
            _refuse_unusual(os.fstat(descriptor), spot)
            self.refuse_mounted(descriptor, str(spot))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def refuse_mounted(self, descriptor: int, shown: str) -> None:
        """Raises `Refused` for what belongs to another mount."""
        if mount_of(descriptor) != self.mount:
            raise Refused(f"{shown} is on another file system that is mounted inside of {self.path}: it is not used.")

    def beneath(self, path: str) -> list[str]:
        """The names to walk from the folder. Raises `Refused` for a path that begins elsewhere."""
        try:
            too_long = len(os.fsencode(path)) > PATH_BYTES_MAX
        except UnicodeEncodeError:
            raise Refused("The path is no valid text: it holds half of a surrogate pair.") from None
        if too_long or "\0" in path:
            raise Refused(f"The path is no path: it is longer than {PATH_BYTES_MAX} bytes or holds a NUL.")
        names = _names(path)
        if not path.startswith("/"):
            return names
        own = _names(self.path)
        if names[: len(own)] != own:
            raise Refused(f"{path} is outside of {self.path}: only what is in this folder can be used.")
        return names[len(own) :]


@dataclass(slots=True)
class _Walk:
    """One way through the folder: the directories that it stands in, and the names that are still to come."""

    folder: Folder
    wanted: str
    stack: list[int]
    ahead: deque[str]
    names: list[str] = field(default_factory=list[str])
    links: int = 0

    def run(self, *, follow: bool, make: bool) -> Spot:
        """Go to the end, or raise."""
        for _ in range(STEPS_MAX):
            if not self.ahead:
                return Spot(self.stack[-1], ".", tuple(self.names), os.fstat(self.stack[-1]))
            name = self.ahead.popleft()
            if name == "..":
                self._leave()
                continue
            status = _status(name, self.stack[-1])
            if status is not None and stat.S_ISLNK(status.st_mode) and (follow or self.ahead):
                self._follow(name)
            elif not self.ahead:
                return Spot(self.stack[-1], name, (*self.names, name), status)
            elif status is None:
                self._make(name, allowed=make)
            else:
                self._enter(name, status)
        raise Refused(f"{self.wanted} keeps changing while it is walked: try again.")

    def _leave(self) -> None:
        if not self.names:
            raise self._outside(self.wanted)
        os.close(self.stack.pop())
        self.names.pop()

    def _follow(self, name: str) -> None:
        self.links += 1
        if self.links > LINKS_MAX:
            raise Refused(f"{self.wanted} leads through more than {LINKS_MAX} links.")
        try:
            target = os.readlink(name, dir_fd=self.stack[-1])
        except OSError:  # No longer a link: look again.
            self.ahead.appendleft(name)
            return
        link = "/".join([*self.names, name])
        try:
            ahead = self.folder.beneath(target)
        except Refused:
            raise self._outside(f"{link}, a link to {target},") from None
        if target.startswith("/"):
            while self.names:
                self._leave()
        self.ahead.extendleft(reversed(ahead))

    def _enter(self, name: str, status: os.stat_result) -> None:
        here = "/".join([*self.names, name])
        if not stat.S_ISDIR(status.st_mode):
            raise Refused(f"{here} is not a directory.")
        if len(self.names) >= DEPTH_MAX:
            raise Refused(f"{self.wanted} is more than {DEPTH_MAX} directories deep.")
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=self.stack[-1])
        except OSError as error:
            if error.errno not in _SWAPPED:
                raise
            self.ahead.appendleft(name)
            return
        self.stack.append(descriptor)
        self.names.append(name)
        self.folder.refuse_mounted(descriptor, here)

    def _make(self, name: str, *, allowed: bool) -> None:
        here = [*self.names, name]
        if not allowed:
            raise Refused(f"There is no directory {'/'.join(here)}.")
        refuse_protected(here)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=self.stack[-1])
        self.ahead.appendleft(name)

    def _outside(self, what: str) -> Refused:
        return Refused(f"{what} leads out of {self.folder.path}: only what is in this folder can be used.")


def mount_of(descriptor: int) -> int:
    """Which mount it was opened on; its device where the system does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as lines:
            for line in lines:
                if line.startswith(b"mnt_id:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return os.fstat(descriptor).st_dev


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _refuse_unusual(status: os.stat_result, spot: Spot) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{spot} is a directory: name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{spot} is a pipe, a socket or a device: only ordinary files can be used.")
    if status.st_nlink > 1:
        raise Refused(f"{spot} has {status.st_nlink} names (hard links), and another one may be outside of the folder.")
