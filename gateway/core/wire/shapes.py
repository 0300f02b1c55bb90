"""The three forms in which a Messages request travels, and where each carries what. Not how one becomes another.

    shape      model  stream  version                  betas                    an answer's stream
    anthropic  body   body    header anthropic-version header anthropic-beta    server-sent events
    bedrock    path   path    body anthropic_version   body list anthropic_beta AWS event stream
    vertex     path   body    body anthropic_version   header anthropic-beta    server-sent events

A dialect is the shape that a client speaks to us, a backend's shape is the one that we speak to it.
Source: wire facts of the backends, measured with the official SDK and Claude Code.
"""

from typing import Literal

import msgspec

Shape = Literal["anthropic", "bedrock", "vertex"]
SHAPES: tuple[Shape, ...] = ("anthropic", "bedrock", "vertex")
Operation = Literal["messages", "count_tokens"]

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
"""Versions as the Claude API writes them; the clouds' `bedrock-2023-05-31` and `vertex-2023-10-16` are the old one."""

Action = Literal["dropped", "rewritten", "renamed", "downgraded"]


class Change(msgspec.Struct, frozen=True):
    """One thing that a request lost or had changed because its upstream lacks it."""

    feature: str
    action: Action


class Asked(msgspec.Struct, frozen=True):
    """What the path of a request says. None: this dialect says it in the body."""

    operation: Operation = "messages"
    model: str | None = None
    stream: bool | None = None


IN_BODY = Asked()
"""A message of which the path says nothing more."""
