"""Features of a request that a backend may lack, and the places where one shows. Which backend lacks which is data.

    version=<v>                            the API version asked for
    body.<name>                            a top-level field
    body.<name>.<member>[=<value>]         a member of an object there; `type` takes its object with it
    body.<name>.<member>[].type=<type>     elements of a list there
    tools[].<name>                         a member of a tool
    tools[].type=<type>                    a tool
    cache_control.<name>                   a member of any cache_control of a tool, system block or content block
    source.type=<value>                    an image or document of that source
    block.type=<type>                      a content block of a message, also inside a tool result
    messages[].role=system                 an entry that is neither the user's nor the assistant's
    messages[role=system].<name>           a member of such an entry

A type ends in `*` when what begins so is meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

from gateway.core.wire.shapes import Action

VERSION_FEATURE = "version_2026_10_21"
UNLISTED_BETA = "unlisted_beta"
"""Stands for every beta that no feature names: what a client makes up must not become a label."""

Cell = bool | tuple[str, ...]
"""Yes, no, or globs of the model ids for which yes."""
Without = Literal["drop", "refuse", "rewrite", "downgrade"]
Kind = Literal[
    "version", "field", "member", "element", "tool_member", "tool", "cache_member", "source", "block", "role", "entry"
]
ACTIONS: Mapping[Without, Action] = MappingProxyType(
    {"drop": "dropped", "refuse": "dropped", "rewrite": "rewritten", "downgrade": "downgraded"}
)
"""What is reported; of a refused feature only its beta, or an empty field, is ever left out."""

_date = re.compile(r"-20[0-9]{2}-?[0-9]{2}-?[0-9]{2}$")
_kinds: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("version", re.compile(r"version=(?P<value>[\w-]+)")),
    ("element", re.compile(r"body\.(?P<name>\w+)\.(?P<member>\w+)\[\]\.type=(?P<value>\w+\*?)")),
    ("member", re.compile(r"body\.(?P<name>\w+)\.(?P<member>\w+)(?:=(?P<value>\w+))?")),
    ("field", re.compile(r"body\.(?P<name>\w+)")),
    ("tool", re.compile(r"tools\[\]\.type=(?P<value>\w+\*?)")),
    ("tool_member", re.compile(r"tools\[\]\.(?P<name>\w+)")),
    ("cache_member", re.compile(r"cache_control\.(?P<name>\w+)")),
    ("source", re.compile(r"source\.type=(?P<value>\w+)")),
    ("block", re.compile(r"block\.type=(?P<value>\w+)")),
    ("role", re.compile(r"messages\[\]\.role=(?P<value>system)")),
    ("entry", re.compile(r"messages\[role=system\]\.(?P<name>\w+)")),
)
_LOSSES: Mapping[Kind, frozenset[Without]] = MappingProxyType(
    {
        "version": frozenset({"downgrade"}),
        "field": frozenset({"drop", "downgrade", "refuse"}),
        "member": frozenset({"drop", "downgrade"}),
        "element": frozenset({"drop"}),
        "tool_member": frozenset({"drop"}),
        "tool": frozenset({"drop", "refuse"}),
        "cache_member": frozenset({"drop"}),
        "source": frozenset({"refuse"}),
        "block": frozenset({"drop", "refuse"}),
        "role": frozenset({"rewrite"}),
        "entry": frozenset({"drop"}),
    }
)
REWRITABLE_BLOCKS = frozenset({"tool_addition", "tool_removal"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a feature shows in a request. What a kind does not use is empty."""

    kind: Kind
    name: str = ""
    member: str = ""
    value: str = ""

    def matches(self, value: str) -> bool:
        """Is `value` the one of this place, or one that begins like it?"""
        return value.startswith(self.value[:-1]) if self.value.endswith("*") else value == self.value

    def may_lose(self, without: Without) -> bool:
        """Can what stands here be lost in this way?"""
        if self.kind == "block" and without == "rewrite":
            return self.value in REWRITABLE_BLOCKS
        return without in _LOSSES[self.kind]


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the table. `betas` are names with their date, or without when every date is meant."""

    id: str
    title: str
    places: tuple[Place, ...] = ()
    betas: tuple[str, ...] = ()
    needs_beta: bool = False
    without: Without = "drop"
    cells: Mapping[str, Cell] = field(default_factory=lambda: MappingProxyType({}))
    """By backend, every backend of the table."""
    send: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By backend: the name that all of `betas` go by there; empty: none is sent."""
    advice: str = ""
    source: str = ""


def parse_place(text: str) -> Place | None:
    """The place that `text` names; None when it names none."""
    for kind, pattern in _kinds:
        if (found := pattern.fullmatch(text)) is not None:
            return Place(kind, **{name: value or "" for name, value in found.groupdict().items()})
    return None


def undated(beta: str) -> str:
    """A beta's name without its date."""
    return _date.sub("", beta)


def cell_holds(cell: Cell, model: str) -> bool:
    """Does the cell say yes for this model?"""
    return cell if isinstance(cell, bool) else any(fnmatchcase(model, glob) for glob in cell)
