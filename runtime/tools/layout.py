"""What a command sees of the file system, as arguments for bubblewrap: nothing but what is listed here. Reads the
folder and the mount table; starts nothing.
"""

import contextlib
import os
import stat
from collections.abc import Generator
from dataclasses import dataclass, field

from runtime.tools.beneath import Folder
from runtime.tools.refusal import Refused

SYSTEM_DIRECTORIES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_FILES = (
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services", "/etc/mime.types"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/java-security", "/etc/profile"),
    *("/etc/bash.bashrc", "/etc/inputrc", "/etc/os-release", "/etc/debian_version", "/etc/magic"),
)
"""Of /etc only what programs need to start; no host keys, no settings of services."""
TMP_BYTES_MAX = 1024 * 1024 * 1024
SHM_BYTES_MAX = 256 * 1024 * 1024
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_AT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK_BYTES_MAX = 4_096


@dataclass(slots=True)
class Layout:
    """Arguments, and the descriptors that they name: open while the `with` block of `lay_out` runs."""

    arguments: list[str] = field(default_factory=list[str])
    descriptors: list[int] = field(default_factory=list[int])

    def bind(self, option: str, descriptor: int, path: str) -> None:
        """By descriptor: what is shown is what was looked at, whatever lies at the path by then."""
        self.arguments += [option, str(descriptor), path]
        self.descriptors.append(descriptor)


@contextlib.contextmanager
def lay_out(folder: Folder) -> Generator[Layout]:
    """The system, and the folder at its own path with what is protected in it read-only. Raises `Refused`."""
    layout = Layout([*_system(), *_private()])
    try:
        _show_git_directory(layout, folder.path)
        layout.bind("--bind-fd", folder.duplicate(), folder.path)
        _protect(layout, folder)
        layout.arguments += [
            *_hide_mounts(folder.path),
            "--remount-ro",
            "/proc",
            "--remount-ro",
            "/",
            "--chdir",
            folder.path,
        ]
        yield layout
    finally:
        for descriptor in layout.descriptors:
            os.close(descriptor)


def _system() -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for path in SYSTEM_DIRECTORIES:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    for path in SYSTEM_FILES:
        arguments += ["--ro-bind-try", path, path]
    return arguments


def _private() -> list[str]:
    return [
        *(
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--size",
            str(SHM_BYTES_MAX),
            "--tmpfs",
            "/dev/shm",
            "--remount-ro",
            "/dev",
        ),
        *("--size", str(TMP_BYTES_MAX), "--tmpfs", "/tmp", "--dir", "/tmp/home"),
    ]


def _protect(layout: Layout, folder: Folder) -> None:
    """`.git` and `.claude` read-only; as mounts, so that they cannot be moved away either.

    A folder without them gets empty ones, which git does not see: a repository of an agent's own would be believed by
    whoever runs git there next. Reach: repositories further down in the folder are ordinary directories for a command.
    """
    with folder.locate(".") as here:
        for name in (".git", ".claude"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=here.directory)
            descriptor = os.open(name, _AT, dir_fd=here.directory)
            layout.bind("--ro-bind-fd", descriptor, f"{folder.path}/{name}")
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise Refused(f"Bash is refused here: {folder.path}/{name} is a link, which cannot be protected.")


def _show_git_directory(layout: Layout, path: str) -> None:
    """The repository of a linked worktree, read-only: git cannot answer without it.

    Only where it names this worktree as its own, which nobody can fake who cannot write there.
    """
    try:
        pointer = _read_line(f"{path}/.git").removeprefix("gitdir: ")
        if _read_line(f"{pointer}/gitdir") != f"{path}/.git":
            return
        common = os.path.realpath(f"{pointer}/../..")
        if os.path.realpath(pointer) != f"{common}/worktrees/{os.path.basename(pointer)}":
            return
        layout.bind("--ro-bind-fd", os.open(common, _AT | os.O_DIRECTORY), common)
    except (OSError, ValueError):
        return


def _read_line(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        return os.fsdecode(file.read(_LINK_BYTES_MAX)).strip()


def _hide_mounts(path: str) -> list[str]:
    """What is mounted inside of the folder is not part of it, as for the other tools."""
    arguments: list[str] = []
    for mount in sorted(mounts_beneath(path)):
        over = ("--tmpfs",) if os.path.isdir(mount) else ("--ro-bind", "/dev/null")
        arguments += [*over, mount]
    return arguments


def mounts_beneath(path: str) -> set[str]:
    """From the mount table of this process."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        points = {_unescape(line.split(" ")[4]) for line in lines}
    return {point for point in points if point.startswith(f"{path}/")}


def _unescape(point: str) -> str:
    """The table writes blanks, tabs, line ends and backslashes as octal numbers."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point
