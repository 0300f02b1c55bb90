"""Agent types (W51): the ones that are always there, and those of `.claude/agents/*.md` in the workspace.

A file is front matter between two lines `---` and a body, which is the type's system prompt. Read without following a
single link, within bounds; what cannot be read or understood is unusable, never replaced by another type.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import yaml

FOLDER = (".claude", "agents")
FILES_MAX = 500
FILE_BYTES_MAX = 64 * 1024
FRONT_BYTES_MAX = 4 * 1024
"""Of front matter: any number of files may have to be looked at, and YAML is slow to read."""
_READING = ("Read", "Glob", "Grep")
_FENCE = "---"
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class KindUnusable(Exception):
    """There is no such agent type, or it cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKind:
    """A named kind of agent. `tools` None: all that there are; `model` None: that of the session."""

    name: str
    prompt: str = ""
    tools: frozenset[str] | None = None
    model: str | None = None


BUILT_IN = {
    kind.name: kind
    for kind in (
        AgentKind(name="general-purpose"),
        AgentKind(
            name="Explore",
            prompt="You look things up. Read and search as much as the task needs, change nothing, and report what you "
            "found with the paths and lines where you found it.",
            tools=frozenset(_READING),
        ),
        AgentKind(
            name="Plan",
            prompt="You plan a piece of work without doing any of it. Read what is there, then give the steps in their "
            "order, the files that each one touches, and what could go wrong.",
            tools=frozenset(_READING),
        ),
    )
}
"""The workspace may define each of them anew."""


def find_kind(folder: str | None, name: str) -> AgentKind:
    """The type of that name as it stands now. Blocks on files. Raises `KindUnusable`."""
    for filename, text in _files(folder) if folder is not None else ():
        try:
            kind = parse_kind(text)
        except KindUnusable as fault:
            if filename.removesuffix(".md") == name:
                raise KindUnusable(f"agent type {name!r} ({'/'.join(FOLDER)}/{filename}): {fault}") from None
            continue
        if kind.name == name:
            return kind
    if name in BUILT_IN:
        return BUILT_IN[name]
    place = f"{'/'.join(FOLDER)} of the workspace" if folder is not None else "a run without a workspace"
    raise KindUnusable(f"there is no agent type {name!r} in {place}; known without it: {', '.join(BUILT_IN)}")


def parse_kind(text: str | None) -> AgentKind:
    """The type that a file defines; None: the file may not be read. Raises `KindUnusable`."""
    if text is None:
        raise KindUnusable(f"it must be a plain file of at most {FILE_BYTES_MAX} bytes of UTF-8, and no link")
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != _FENCE or _FENCE not in [line.strip() for line in lines[1:]]:
        raise KindUnusable(f"it does not begin with front matter between two lines of {_FENCE}")
    end = [line.strip() for line in lines[1:]].index(_FENCE) + 1
    members = _front_matter(lines[1:end])
    name, model = members.get("name"), members.get("model")
    if not isinstance(name, str) or not name.strip():
        raise KindUnusable("its front matter has no name")
    if model is not None and not isinstance(model, str):
        raise KindUnusable("its model is not a name")
    return AgentKind(
        name=name.strip(),
        prompt="\n".join(lines[end + 1 :]).strip(),
        tools=_tools(members.get("tools")),
        model=model if model and model != "inherit" else None,
    )


def _front_matter(lines: list[str]) -> dict[str, Any]:
    text = "\n".join(lines)
    if len(text.encode()) > FRONT_BYTES_MAX:
        raise KindUnusable(f"its front matter is longer than {FRONT_BYTES_MAX} bytes")
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        loaded = _plain_members(lines)
    if not isinstance(loaded, dict):
        raise KindUnusable("its front matter is not a list of members")
    return cast(dict[str, Any], loaded)


def _plain_members(lines: list[str]) -> dict[str, Any]:
    """`name: text` line by line: what people write when a description holds colons, which YAML does not take."""
    pairs = [line.partition(":") for line in lines if line[:1].isalpha() and ":" in line]
    return {name.strip(): text.strip().strip("\"'") or None for name, _, text in pairs}


def _tools(value: object) -> frozenset[str] | None:
    """Names, given as a list or between commas. A tool for some arguments only is none that can be given here."""
    if value is None or value == "*":
        return None
    if isinstance(value, str):
        value = value.replace("[", "").replace("]", "").split(",")
    if not isinstance(value, list):
        raise KindUnusable("its tools are neither a list nor names between commas")
    if not all(isinstance(each, str | int | float) for each in cast(list[object], value)):
        raise KindUnusable("its tools are not all names")
    names = [str(each).strip().strip("\"'") for each in cast(list[object], value)]
    return None if "*" in names else frozenset(names)


def _files(folder: str) -> Iterator[tuple[str, str | None]]:
    """Name and text of each definition, by name."""
    try:
        directory = _open_beneath(folder)
    except OSError:
        return
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".md"))
        for name in names[:FILES_MAX]:
            yield name, _read(directory, name)
    finally:
        os.close(directory)


def _open_beneath(folder: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    current = os.open(folder, flags)
    for part in FOLDER:
        try:
            below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _read(directory: int, name: str) -> str | None:
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
