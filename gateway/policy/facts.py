"""Static facts of a tool call: its class, its commands, paths and hosts, and what could not be told. Not a decision.

Rules are given these facts so that none has to parse shell or paths. No file system and no network is consulted, so
the facts are claims about text: an existing symbolic link, a script's content, a name's address are not seen (see
`shell.py`, `paths.py`, `hosts.py` for how far each reaches). Never raises: whatever fails here is an entry of
`unclear`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from gateway.core.decisions.decision import PathUse, ToolClass, ToolFacts
from gateway.policy.effects import Effect, device_host, effects
from gateway.policy.hosts import hosts_of, is_url
from gateway.policy.paths import follow, normalise, path_use
from gateway.policy.shell import UNREADABLE, Reading, read_line
from gateway.policy.words import UNKNOWN

PATHS_MAX = 400
HOSTS_MAX = 100
UNCLEAR_MAX = 40
UNCLEAR_CHARS_MAX = 240
MCP_PREFIX = "mcp__"

_CLASSES: dict[str, ToolClass] = {
    **dict.fromkeys(
        ("Read", "Glob", "Grep", "LS", "NotebookRead", "ListMcpResourcesTool", "ReadMcpResourceTool"), "read"
    ),
    **dict.fromkeys(("BashOutput", "TaskOutput", "LSP"), "read"),
    **dict.fromkeys(("Write", "Edit", "MultiEdit", "NotebookEdit"), "write"),
    **dict.fromkeys(("str_replace_based_edit_tool", "str_replace_editor", "memory"), "write"),
    **dict.fromkeys(("Bash", "bash", "PowerShell", "Monitor", "REPL"), "exec"),
    **dict.fromkeys(("WebFetch", "WebSearch", "web_fetch", "web_search"), "network"),
    **dict.fromkeys(("Agent", "Task", "Workflow", "SendMessage"), "agent"),
}  # pyright: ignore[reportAssignmentType]
_SHELL_TOOLS = frozenset({"Bash", "bash", "PowerShell", "Monitor"})
_EDITORS = frozenset({"str_replace_based_edit_tool", "str_replace_editor", "memory"})
_PATH_KEYS = ("file_path", "notebook_path", "path", "filepath", "filename", "file", "source", "destination", "paths")
_URL_KEYS = ("url", "uri", "urls", "endpoint", "base_url")
_LINE_KEYS = ("command", "cmd", "script", "shell_command")
_WRITING_NAME = re.compile(r"write|edit|create|delete|move|remove|append|rename|update|save|upload|insert|patch", re.I)
_RUNNING_NAME = re.compile(r"bash|shell|exec|run|command|terminal|process", re.I)


def classify(tool: str) -> tuple[ToolClass, str | None]:
    """Class of a tool, and `mcp:<name>` when an MCP server offers it."""
    if tool.startswith(MCP_PREFIX):
        return "other", "mcp:" + tool[len(MCP_PREFIX) :].partition("__")[0]
    return _CLASSES.get(tool, "other"), None


def describe(tool: str, tool_input: Any, workspace: str | None) -> ToolFacts:
    """Facts of one call of `tool`. `workspace`: absolute path of the agent's working directory when known."""
    collected = _Collected(workspace)
    try:
        if isinstance(tool_input, Mapping):
            collected.read(tool, cast("Mapping[str, Any]", tool_input))
        elif tool in _CLASSES:
            collected.doubt(f"{UNREADABLE}the input of {tool} is not an object")
    except Exception as error:  # noqa: BLE001 - a fault here must not decide anything: the rules are told instead
        collected.doubt(f"{UNREADABLE}facts failed with {type(error).__name__}")
    return collected.facts()


class _Collected:
    """Facts as they are found, without repeats."""

    def __init__(self, workspace: str | None) -> None:
        self.workspace = workspace
        self.paths: dict[PathUse, None] = {}
        self.hosts: dict[str, None] = {}
        self.unclear: dict[str, None] = {}
        self.reading = Reading()

    def doubt(self, what: str) -> None:
        self.unclear[what[:UNCLEAR_CHARS_MAX]] = None

    def facts(self) -> ToolFacts:
        for entry, limit, what in ((self.paths, PATHS_MAX, "paths"), (self.hosts, HOSTS_MAX, "hosts")):
            if len(entry) > limit:
                self.doubt(f"{UNREADABLE}too many {what}")
        return ToolFacts(
            commands=tuple(one.command for one in self.reading.found),
            paths=tuple(self.paths)[:PATHS_MAX],
            hosts=tuple(self.hosts)[:HOSTS_MAX],
            # Entries that a rule must not miss come first.
            unclear=tuple(sorted(self.unclear, key=lambda one: not one.startswith(UNREADABLE))[:UNCLEAR_MAX]),
        )

    def read(self, tool: str, given: Mapping[str, Any]) -> None:
        if tool in _SHELL_TOOLS:
            self.shell(given.get("command"))
        elif tool in _EDITORS:
            for path in _texts(given, ("path", "old_path", "new_path")):
                self.path(path, "read" if given.get("command") == "view" else "write")
        elif tool in _CLASSES:
            self.known_tool(tool, given)
        else:
            self.unknown_tool(tool, given)

    def known_tool(self, tool: str, given: Mapping[str, Any]) -> None:
        access = "write" if _CLASSES[tool] == "write" else "read"
        if tool == "Workflow":
            access, keys = "read", ("scriptPath",)
        else:
            keys = ("file_path", "notebook_path", "path")
        for path in _texts(given, keys):
            self.path(path, access)
        if tool == "Grep":
            folder = next(iter(_texts(given, ("path",))), ".")
            for pattern in _texts(given, ("glob",)):
                self.path(f"{folder}/{pattern}", "read")
        self.urls(_texts(given, ("url",)))

    def unknown_tool(self, tool: str, given: Mapping[str, Any]) -> None:
        access = "write" if _WRITING_NAME.search(tool) else "read"
        for path in _texts(given, _PATH_KEYS):
            if not is_url(path):
                self.path(path.removeprefix("file://"), access)
        self.urls(_texts(given, _URL_KEYS))
        if _RUNNING_NAME.search(tool):
            for line in _texts(given, _LINE_KEYS):
                self.shell(line)

    def urls(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text.lower().startswith("file:"):
                self.path(re.sub(r"^file:/*", "/", text, flags=re.IGNORECASE), "read")
            for host in hosts_of(text):
                self.host(host)

    def host(self, host: str) -> None:
        self.hosts[host] = None
        if host == UNKNOWN:
            self.doubt("name of a host is not known")

    def path(self, path: str, access: str, cwd: str = "") -> None:
        use = path_use(follow(normalise(path, cwd), self.reading.links), access, self.workspace)
        self.paths[use] = None
        if use.path.startswith("/proc/"):
            self.doubt("a path leads through /proc")

    def shell(self, line: object) -> None:
        if line is None:
            return
        if not isinstance(line, str):
            self.doubt(f"{UNREADABLE}the command is not text")
            return
        reading = read_line(line)
        reading.found[:0] = self.reading.found
        self.reading = reading
        reading.links = {normalise(link): target for link, target in reading.links.items()}
        self.unclear.update(dict.fromkeys(one[:UNCLEAR_CHARS_MAX] for one in reading.unclear))
        for one in reading.found:
            for effect in effects(one.command.argv):
                self.effect(effect, one.cwd, remote=one.remote)
        for redirection, cwd in reading.opened:
            self.redirection(redirection.path, redirection.access, cwd)
        for target in reading.links.values():
            self.path(target, "read")

    def effect(self, effect: Effect, cwd: str, *, remote: bool) -> None:
        if effect.kind == "host":
            self.host(effect.text)
        elif not remote and effect.text not in ("-", ""):
            self.path(effect.text, effect.kind, cwd)

    def redirection(self, path: str, access: str, cwd: str) -> None:
        host = device_host(path)
        if host is None:
            self.path(path, access, cwd)
        else:
            self.host(host)


def _texts(given: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The texts under `keys`; a list of texts counts as each of them."""
    found: list[str] = []
    for key in keys:
        value = given.get(key)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found.extend(one for one in cast("list[object]", value) if isinstance(one, str))
    return found
