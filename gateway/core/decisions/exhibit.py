"""What a person who approves is shown of an action: all that can be told of it, secrets masked, length bounded.

Whatever was left out is said (`cut`), for somebody who approves a call must know that there is more of it. Not the
audit trail's view (`recorded.py`), which may leave out far more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

import msgspec

from gateway.core.decisions.decision import Action, Infer, Run, Spawn, ToolCall
from gateway.core.decisions.masking import CUT, MASK, TEXT_CHARS_MAX, Masking

WHOLE_CHARS_MAX = 48_000
"""Of everything that is shown of one action."""
ENTRIES_MAX = 200
"""Of one list or mapping."""
DEPTH_MAX = 12
TITLE_CHARS_MAX = 160
PROMPT_CHARS_MAX = 600
"""The first words of the prompt of a spawn."""
SCALAR_CHARS = 4
"""What a number, true, false or null counts as."""
PIECE_CHARS_MAX = TEXT_CHARS_MAX - 16
"""Masking cuts longer texts, so they are masked piece by piece."""
TELLING = ("command", "file_path", "path", "url", "pattern", "query", "description", "prompt")
"""Members of an input that best say what a call is about, in this order."""

_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
_JOINERS = (":", "=", "bearer", "basic", "-u", "--user")
_encode = msgspec.json.Encoder(order="sorted").encode


class Exhibit(msgspec.Struct, frozen=True):
    """`title` is one line; `what` are JSON values."""

    title: str
    what: dict[str, Any]


def exhibit(action: Action, text: str | None = None, args: Any = None) -> Exhibit:
    """What is shown of an action. `text`: the prompt of a spawn, as far as it is known; `args`: what a run is given."""
    match action:
        case ToolCall():
            return _of_call(action)
        case Run():
            return _of_run(action, args)
        case Spawn():
            return _of_spawn(action, text)
        case Infer():
            return Exhibit(f"request to {action.model}", {"model": action.model})


def _of_call(call: ToolCall) -> Exhibit:
    written, view = canonical(call.input), _View()
    shown = view.value(call.input)
    what = {
        "tool": call.tool,
        "class": call.tool_class,
        "server": call.server,
        "tool_use_id": call.tool_use_id,
        "input": shown,
        "input_sha256": sha256(written).hexdigest(),
        "input_bytes": len(written),
        "facts": view.value(msgspec.to_builtins(call.facts)),
        "cut": view.cut,
    }
    return Exhibit(_line(f"{call.tool}: {_about(shown)}"), what)


def _of_run(run: Run, args: Any) -> Exhibit:
    """The script is kept whole elsewhere, under its hash."""
    view = _View()
    what = {
        "name": run.name,
        "script_sha256": run.script_sha256,
        "source": run.source,
        "args": view.value(args),
        "args_bytes": run.args_bytes,
        "resume_of": run.resume_of,
        "opaque": run.opaque,
        "profile": view.value(msgspec.to_builtins(run.profile)),
        "cut": view.cut,
    }
    if run.profile is None:
        return Exhibit(_line(f"workflow {run.name or '(no name)'}, whose script is not in the call"), what)
    most = "no visible bound of" if run.profile.fan_out is None else f"at most {run.profile.fan_out}"
    return Exhibit(_line(f"workflow {run.name or run.profile.name or '(no name)'}: {most} agents"), what)


def _of_spawn(spawn: Spawn, prompt: str | None) -> Exhibit:
    view = _View()
    facts = cast("dict[str, Any]", view.value(msgspec.to_builtins(spawn)))
    facts.pop("kind", None)
    if prompt is not None:
        facts["prompt"] = view.text(prompt[:PROMPT_CHARS_MAX])
        facts["cut"] = view.cut or len(prompt) > PROMPT_CHARS_MAX
    label = f" ({spawn.label})" if spawn.label else ""
    return Exhibit(_line(f"agent {spawn.agent_type or 'of no type'} on {spawn.model or 'no model'}{label}"), facts)


def canonical(value: Any) -> bytes:
    """JSON of a value, the same however its keys were ordered. Halves of surrogate pairs are told apart too."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return repr(_sorted(value)).encode("utf-8", "backslashreplace")


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        held = cast("Mapping[str, Any]", value)
        return [[key, _sorted(held[key])] for key in sorted(held)]
    return [_sorted(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _about(shown: Any) -> str:
    if not isinstance(shown, dict):
        return ""
    held = cast("dict[str, Any]", shown)
    for name in TELLING:
        if isinstance(held.get(name), str) and held[name].strip():
            return held[name]
    return canonical(held).decode("utf-8", "replace")


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TITLE_CHARS_MAX else text[: TITLE_CHARS_MAX - 1] + "\u2026"


@dataclass(slots=True)
class _View:
    """Copies JSON values within what is left of the bound; `cut` tells that something is missing."""

    left_chars: int = WHOLE_CHARS_MAX
    cut: bool = False
    masking: Masking = field(default_factory=Masking)

    def value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[str, Any]", value), depth + 1)
        if isinstance(value, list | tuple):
            return self._list(cast("Sequence[Any]", value), depth + 1)
        self.left_chars -= SCALAR_CHARS
        return value

    def text(self, text: str) -> str:
        shown = _masked(text[: max(0, self.left_chars)].encode("utf-8", "replace").decode(), self.masking)
        if len(text) > self.left_chars:
            shown += CUT
        self.cut = self.cut or CUT in shown
        self.left_chars -= len(shown) + 1
        return shown

    def _mapping(self, held: Mapping[str, Any], depth: int) -> Any:
        if depth > DEPTH_MAX:
            return self._left_out()
        copy: dict[str, Any] = {}
        for name, inner in held.items():
            if len(copy) >= ENTRIES_MAX or self.left_chars <= 0:
                copy[CUT] = self._left_out()
                break
            copy[self.text(name)] = self._member(name, inner, depth)
        return copy

    def _member(self, name: str, inner: Any, depth: int) -> Any:
        """Commands hide the word after `--password`; a member that is named like a secret hides its text."""
        if name == "argv" and isinstance(inner, list | tuple):
            words = cast("Sequence[Any]", inner)
            return self.value(
                self.masking.words(words) if all(isinstance(each, str) for each in words) else words, depth
            )
        if isinstance(inner, str) and self.masking.text(f"{name}=x").endswith(MASK):
            self.left_chars -= len(MASK)
            return MASK
        return self.value(inner, depth)

    def _list(self, held: Sequence[Any], depth: int) -> Any:
        if depth > DEPTH_MAX:
            return self._left_out()
        copy: list[Any] = []
        for inner in held:
            if len(copy) >= ENTRIES_MAX or self.left_chars <= 0:
                copy.append(self._left_out())
                break
            copy.append(self.value(inner, depth))
        return copy

    def _left_out(self) -> str:
        self.cut = True
        return CUT


def _masked(text: str, masking: Masking) -> str:
    """Line by line, long lines between words; a private key as a whole, for no line of it tells what it is."""
    lines: list[str] = []
    in_key = False
    for line in text.split("\n"):
        begins = _KEY_BEGINS in line and "PRIVATE KEY" in line
        if begins and not in_key:
            lines.append(line.partition(_KEY_BEGINS)[0] + MASK)
        elif not in_key:
            lines.append("".join(masking.text(piece) for piece in _pieces(line)))
        in_key = (in_key or begins) and _KEY_ENDS not in line
    return "\n".join(lines)


def _pieces(line: str) -> list[str]:
    """The line in pieces that masking does not cut, unless a single word is longer; no name parts from its value."""
    if len(line) <= PIECE_CHARS_MAX:
        return [line]
    pieces: list[str] = []
    piece, before = "", ""
    for word in line.split(" "):
        joined = before.lower().endswith(_JOINERS)
        if piece and len(piece) + len(word) > PIECE_CHARS_MAX and not joined:
            pieces.append(piece)
            piece = " " + word
        else:
            piece = word if not (piece or pieces) else f"{piece} {word}"
        before = word or before
    return [*pieces, piece]
