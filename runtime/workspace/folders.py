"""Which folders agents may work in: those beneath the configured roots. Looks, changes nothing."""

import os
from collections.abc import Sequence

from runtime.ports import WorkspaceRefused

GUARDED_NAMES = frozenset({".git", ".claude"})
"""Tools protect them inside of a folder; as part of its own path they would be the folder."""


class Folders:
    """`roots`: absolute paths; one that does not exist holds no folder. `home`: of the account that this runs as."""

    def __init__(self, roots: Sequence[str], home: str | None = None) -> None:
        self.roots = tuple(roots)
        self.home = os.path.realpath(os.path.expanduser("~") if home is None else home)

    def check(self, folder: str) -> str:
        """The folder without links. Raises `WorkspaceRefused`."""
        if not os.path.isabs(folder) or any(not char.isprintable() for char in folder):
            raise WorkspaceRefused(f"{folder!r} is no absolute path of printable characters: give one.")
        try:
            real = os.path.realpath(folder, strict=True)
        except OSError as error:
            raise WorkspaceRefused(f"The folder {folder} cannot be used: {error.strerror}.") from None
        if not os.path.isdir(real):
            raise WorkspaceRefused(f"{folder} is not a directory.")
        if is_within(self.home, real):
            raise WorkspaceRefused(f"{real} is or holds a home directory: give the folder of one project.")
        if not self.holds(real):
            raise WorkspaceRefused(
                f"{real} is in none of the folders that runs may use ({', '.join(self.roots) or 'none is named'}): "
                "choose another folder, or have it added to the configuration."
            )
        return real

    def holds(self, real: str) -> bool:
        """Is it in one of the roots, and not in what is protected there?"""
        for root in (os.path.realpath(root) for root in self.roots):
            if is_within(real, root) and GUARDED_NAMES.isdisjoint(os.path.relpath(real, root).casefold().split("/")):
                return True
        return False


def is_within(path: str, directory: str) -> bool:
    """Is it the directory, or in it? Both without links."""
    return os.path.commonpath((path, directory)) == directory
