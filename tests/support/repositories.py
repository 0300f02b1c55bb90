"""Git repositories for tests. No test here."""

import subprocess
from pathlib import Path

AUTHOR = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")


def git(place: Path, *arguments: str) -> str:
    """What git prints."""
    return subprocess.run(
        ["git", *AUTHOR, *arguments], cwd=place, check=True, capture_output=True, text=True
    ).stdout.strip()


def make_repository(place: Path) -> Path:
    """On branch `main`, with one commit of `file` and `sub/inner`."""
    (place / "sub").mkdir(parents=True)
    (place / "file").write_text("one\n")
    (place / "sub" / "inner").write_text("one\n")
    git(place, "init", "-q", "-b", "main")
    commit(place)
    return place.resolve()


def commit(place: Path) -> str:
    """All that is there; its id."""
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "a change")
    return git(place, "rev-parse", "HEAD")
