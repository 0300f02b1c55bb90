"""Names in a folder that no agent may write: what is in them is run or believed later, by people and by their client
(git hooks, filters and settings; the settings, hooks, agents and workflows of Claude Code, W146). Judges names only.

Reach: a bare repository under another name, and Makefiles and the like, are ordinary files here.
"""

import unicodedata
from collections.abc import Sequence

from runtime.tools.refusal import Refused

PROTECTED_NAMES = frozenset({".git", ".claude"})


def is_protected(parts: Sequence[str]) -> bool:
    """Is the path, or a directory that it leads through, one of them? `parts`: names beneath the folder, no links."""
    return any(_folded(part) in PROTECTED_NAMES for part in parts)


def refuse_protected(parts: Sequence[str]) -> None:
    """Raises `Refused`."""
    if is_protected(parts):
        raise Refused(
            f"{'/'.join(parts)} cannot be written: what is in .git and .claude takes effect outside of this task. "
            "It can be read; if it has to change, say so in your answer."
        )


def _folded(name: str) -> str:
    """As a file system sees it that ignores case, marks without a shape, or dots and blanks at the end."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return visible.casefold().rstrip(". ")
