"""Whole files in a folder: read up to a limit, replaced at once. Knows nothing of text or of tools."""

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass

from runtime.tools.beneath import Folder, Spot
from runtime.tools.protected import refuse_protected
from runtime.tools.refusal import Refused

FILE_BYTES_MAX = 10 * 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Whole:
    """A file as it was at one moment."""

    content: bytes
    mode: int


def read_whole(folder: Folder, spot: Spot, *, bytes_max: int = FILE_BYTES_MAX) -> Whole:
    """Raises `Refused` and `OSError`."""
    descriptor = folder.open_file(spot)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        content = file.read(bytes_max + 1) if status.st_size <= bytes_max else None
    if content is None or len(content) > bytes_max:
        raise Refused(
            f"{spot} is larger than {bytes_max} bytes ({status.st_size}): search it with Grep, or cut it with Bash."
        )
    return Whole(content, stat.S_IMODE(status.st_mode))


def replace_whole(spot: Spot, content: bytes, *, mode: int | None) -> None:
    """Readers see the old file or the new one, and nothing is written through a link. `mode` None: a new file.

    Raises `Refused` for what no agent may write, and `OSError`.
    """
    refuse_protected(spot.parts)
    beside = f".{secrets.token_hex(8)}.ringfence"
    descriptor = os.open(beside, _NEW, 0o666 if mode is None else 0o600, dir_fd=spot.directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode & 0o777)
        os.rename(beside, spot.name, src_dir_fd=spot.directory, dst_dir_fd=spot.directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=spot.directory)
        raise
