"""Whether a git directory has everything within itself: git follows links and borrowed objects wherever they lead, both
to read and to write. Looks, changes nothing.

Reach: what somebody with rights to the directory changes after the look. Agents have none (`runtime/tools/`).
"""

import os

ALTERNATES = ("objects/info/alternates", "objects/info/http-alternates")
UNUSED = frozenset({"hooks", "modules", "lfs", "annex"})
"""At its top: of no use to what is done here, and of some it is usual that they hold links."""


def problem_of(common: str, checkouts: str) -> str | None:
    """Why it leads out of itself; None: it does not. `checkouts`: the directory in it whose contents are no part of it.

    Raises `OSError`.
    """
    for place in ALTERNATES:
        if os.path.lexists(f"{common}/{place}"):
            return f"it borrows objects from another one ({place})"
    link = _first_link(common, checkouts)
    return None if link is None else f"{link} is a link"


def _first_link(common: str, checkouts: str) -> str | None:
    for at, directories, files in os.walk(common, onerror=_fail):
        if at == common:
            directories[:] = [name for name in directories if name not in UNUSED]
            files = [name for name in files if name not in UNUSED]
        for name in (*directories, *files):
            if os.path.islink(f"{at}/{name}"):
                return os.path.relpath(f"{at}/{name}", common)
        if at == common:
            directories[:] = [name for name in directories if name != checkouts]
    return None


def _fail(error: OSError) -> None:
    raise error
