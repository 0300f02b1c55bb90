"""The lines of audit files and of what was rotated away from them, while a gateway may write. Parses none of them.

Newest file first: a rotation meanwhile moves files to where they are read later, so that none is missed, and a file
that was read before is known by its inode.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.commands.output import CommandFailed
from gateway.config import Config

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Above any record: a tool's input that is logged in full is no longer than a request may be."""
STDOUT = "stdout"


def audit_paths(config: Config, named: Sequence[Path]) -> tuple[Path, ...]:
    """The files that were named, else the configured one. Raises `CommandFailed` when that is none."""
    if named:
        return tuple(named)
    if config.audit.path == STDOUT:
        message = (
            "audit.path is stdout, which cannot be read back; name the file that it was kept in with --audit, or set"
            " audit.path to a file for what is to come"
        )
        raise CommandFailed(message)
    return (Path(config.audit.path),)


def audit_lines(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Every line that is not blank, with its place as `file:line`. Raises `CommandFailed` for an unreadable file."""
    read: set[tuple[int, int]] = set()
    for path in (path for named in paths for path in (named, *_rotated(named))):
        try:
            yield from _lines_of(path, read)
        except FileNotFoundError:
            if path in paths:
                raise CommandFailed(f"{path}: there is no such audit trail; name the file with --audit") from None
        except OSError as error:
            cause = error.strerror or str(error)
            raise CommandFailed(f"{path}: cannot be read: {cause}; run this as who may read it") from None


def _lines_of(path: Path, read: set[tuple[int, int]]) -> Iterator[tuple[str, bytes]]:
    with _open(path) as file:
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) in read:
            return
        read.add((status.st_dev, status.st_ino))
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
            if line.strip():
                yield f"{path}:{number}", line


def _rotated(named: Path) -> list[Path]:
    prefix = named.name + "."
    try:
        names = os.listdir(named.parent)
    except OSError:
        return []
    numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    present = sorted(int(number) for number in numbers if number.isascii() and number.isdigit())
    meanwhile = present[-1] + 1 if present else 1
    return [named.with_name(f"{prefix}{number}") for number in (*present, meanwhile)]


def _open(path: Path) -> BinaryIO:
    """A regular file for reading: what is none may never end, or never begin."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CommandFailed(f"{path}: is no file that can be read back; name one with --audit")
    return path.open("rb")
