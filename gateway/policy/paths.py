"""Normalises file paths as text and tells whether they lie in the workspace. No file system is consulted.

Reach: a symbolic link that exists already is not seen; one that the same line makes is followed. Ways through
`/proc` and `/dev/fd` that look like links are taken apart (`/proc/self/root/etc` is `/etc`) or count as outside. `~`
is kept; it is compared with the workspace when that lies in a home folder. Upper and lower case are kept: rules fold
them if they must.
"""

import re

from gateway.core.decisions.decision import PathUse
from gateway.policy.words import UNKNOWN

LINKS_FOLLOWED_MAX = 8
PATH_CHARS_MAX = 4096
"""Longest path that is normalised; longer ones are cut and count as outside."""

_PROC_ROOT = re.compile(r"/proc/(?:self|thread-self|[0-9]+|\*)(?:/task/[^/]+)?/root(?=/|$)")
_PROC_LINK = re.compile(r"/proc/[^/]+(?:/task/[^/]+)?/(?:cwd|fd|map_files)(?:/|$)|/dev/fd/")
_HOME = re.compile(r"(/home/[^/]+|/Users/[^/]+|/root)(?=/|$)")


def normalise(path: str, cwd: str = "") -> str:
    """`.`, `..` and `//` resolved; relative to `cwd`, which is relative to the workspace unless absolute."""
    path = path[:PATH_CHARS_MAX]
    if not path.startswith(("/", "~")) and cwd:
        path = f"{cwd}/{path}"
    path = (_PROC_ROOT.sub("", path) or "/") if path.startswith("/") else path
    return _collapse(path) or ("/" if path.startswith("/") else ".")


def _collapse(path: str) -> str:
    absolute = path.startswith("/")
    home = path.startswith("~")
    out: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            out.append(part)
        elif out and out[-1] != ".." and not (home and len(out) == 1):
            out.pop()
        elif not absolute:
            out.append(part)
    return ("/" if absolute else "") + "/".join(out)


def follow(path: str, links: dict[str, str]) -> str:
    """The path after the symbolic links that the line itself made."""
    for _ in range(LINKS_FOLLOWED_MAX):
        link = next((link for link in links if path == link or path.startswith(link + "/")), None)
        if link is None:
            break
        path = normalise(links[link] + path[len(link) :])
    return path


def is_inside(path: str, workspace: str | None) -> bool | None:
    """Whether a normalised path lies in the workspace. None: not known."""
    if len(path) >= PATH_CHARS_MAX or _PROC_LINK.match(path):
        return False
    first = path.split("/", 1)[0]
    if UNKNOWN in first:
        return None
    if path.startswith("~"):
        return _is_home_inside(path, workspace)
    if not path.startswith("/"):
        return first != ".."
    if UNKNOWN in path.split("/")[1]:
        return None
    if workspace is None:
        return None
    root = normalise(workspace)
    return path == root or path.startswith(root.rstrip("/") + "/")


def _is_home_inside(path: str, workspace: str | None) -> bool:
    home = _HOME.match(workspace or "")
    if home is None or not (path == "~" or path.startswith("~/")):
        return False
    return is_inside(normalise(home[0] + path[1:]), workspace) is True


def path_use(path: str, access: str, workspace: str | None) -> PathUse:
    """One use of a normalised path; one that climbs out of a known workspace is made absolute."""
    if path.split("/", 1)[0] == ".." and (workspace or "").startswith("/"):
        path = normalise(path, workspace or "")
    inside = is_inside(path, workspace)
    return PathUse(path=path, access="write" if access == "write" else "read", inside_workspace=inside)
