"""The ordinary files beneath a directory, by descriptors: no link is followed, no other mount is entered, and the
number and depth of what is looked at is bounded. Standard library only.
"""

import os
import stat
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from runtime.tools.beneath import mount_of
from runtime.tools.seek.patterns import Ignore, is_ignored, parse_ignores

ENTRIES_MAX = 200_000
DEPTH_MAX = 128
IGNORE_BYTES_MAX = 256 * 1024
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".jj"})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FoundFile:
    """`directory` is open until the walk goes on. `path` is relative to the folder."""

    directory: int
    name: str
    path: str
    modified_ns: int

    def read(self, bytes_max: int) -> bytes | None:
        """None: too large, not an ordinary file, or one with other names (hard links). Raises `OSError`."""
        descriptor = os.open(self.name, _FILE, dir_fd=self.directory)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > bytes_max:
                return None
            if mount_of(descriptor) != mount_of(self.directory):
                return None
            return file.read(bytes_max)


@dataclass(slots=True)
class Walk:
    """One walk through a folder. `left_out` says what was not looked at, for people."""

    root: int
    """Descriptor of the folder."""
    respects_ignores: bool
    entries: int = 0
    left_out: set[str] = field(default_factory=set[str])

    def files(self, start: Sequence[str]) -> Generator[FoundFile]:
        """Everything beneath `start`, in the order of names, or `start` itself if it is a file. Raises `OSError`."""
        directory, rules, path = os.dup(self.root), self._ignores(self.root, ""), ""
        try:
            for number, name in enumerate(start):
                path = f"{path}{name}"
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if number == len(start) - 1 and stat.S_ISREG(status.st_mode):
                    yield FoundFile(directory, name, path, status.st_mtime_ns)
                    return
                directory, parent = os.open(name, _DIRECTORY, dir_fd=directory), directory
                os.close(parent)
                path += "/"
                rules = [*rules, *self._ignores(directory, path)]
            yield from self._beneath(directory, path, rules, len(start))
        finally:
            os.close(directory)

    def _beneath(self, directory: int, path: str, rules: list[Ignore], depth: int) -> Generator[FoundFile]:
        for entry in self._entries(directory):
            is_directory = entry.is_dir(follow_symlinks=False)
            if self.respects_ignores and is_ignored(rules, path + entry.name, is_directory=is_directory):
                continue
            if is_directory and entry.name not in VERSION_CONTROL:
                yield from self._into(directory, entry.name, path, rules, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield from self._file(directory, entry, path)

    def _entries(self, directory: int) -> list[os.DirEntry[str]]:
        found: list[os.DirEntry[str]] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if self.entries >= ENTRIES_MAX:
                    self.left_out.add(f"only the first {ENTRIES_MAX} entries were looked at: name a smaller path")
                    break
                self.entries += 1
                found.append(entry)
        return sorted(found, key=lambda entry: entry.name)

    def _into(self, directory: int, name: str, path: str, rules: list[Ignore], depth: int) -> Generator[FoundFile]:
        if depth > DEPTH_MAX:
            self.left_out.add(f"directories deeper than {DEPTH_MAX} were left out")
            return
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError:  # Gone or swapped since it was listed, or not for us.
            self.left_out.add("directories that could not be opened were left out")
            return
        try:
            if mount_of(inner) == mount_of(directory):
                here = f"{path}{name}/"
                yield from self._beneath(inner, here, [*rules, *self._ignores(inner, here)], depth)
        finally:
            os.close(inner)

    def _file(self, directory: int, entry: os.DirEntry[str], path: str) -> Generator[FoundFile]:
        try:
            modified_ns = entry.stat(follow_symlinks=False).st_mtime_ns
        except OSError:
            return
        yield FoundFile(directory, entry.name, path + entry.name, modified_ns)

    def _ignores(self, directory: int, base: str) -> list[Ignore]:
        if not self.respects_ignores:
            return []
        try:
            content = FoundFile(directory, ".gitignore", "", 0).read(IGNORE_BYTES_MAX)
        except OSError:
            return []
        return parse_ignores((content or b"").decode("utf-8", "replace"), base)
