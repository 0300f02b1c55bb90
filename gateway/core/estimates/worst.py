"""The most that a request can use, before it is sent: what strict limits hold. Not what it likely uses: `estimate.py`.

It holds because a token stands for at least one byte of the body (or is known from an earlier answer or a count), the
prompt is never longer than the context window, and output never passes `max_tokens`. How far that reaches: content
whose size the body does not show (URLs, files, PDFs, server-held threads) and tools that the upstream runs count as a
full context window, but an upstream that reads the prompt again after each of its own tool calls may bill more than one
window; a workspace whose default geography is `us` pays 1.1 of what a request that does not say so is held at.
"""

import re
from collections.abc import Iterable

import msgspec

from gateway.core.estimates.content import Content
from gateway.core.money.limits import Amounts
from gateway.core.money.prices import UNIT, Price
from gateway.core.money.pricing import SEARCH_SCALE, geo_multiplier, round_up_nanousd
from gateway.core.wire.body import Ask

PROMPT_OVERHEAD_TOKENS = 1_024
"""Tokens the upstream adds that no byte of the body stands for: the system prompt of tool use is 264 to 804, by model
and `tool_choice` (the API's documentation of tool use lists them). Held also on top of a known prompt, whose count has
them already: they may be others the next time."""
DEFINED_TOOLS_TOKENS = 4_096
"""The same for tools that the API defines and the client runs: editor 700, computer 735 and a system prompt of 499,
shell 245 (the API's documentation of each), and each but once, as names may not be repeated."""
IMAGE_TOKENS_MAX = 5_000
"""One image, whatever its bytes: a flat picture compresses to fewer bytes than it has tokens."""
SERVER_TOOL_SEARCHES = 10
"""Web searches held for when the upstream may search."""

_defined_tool = re.compile(rb"_20\d{6}|\\u00")
"""In `tools`: the date of such a tool's type, or an escape that may hide one."""
_unshown_keys = frozenset({"thread", "container", "fallbacks", "compaction", "mcp_servers"})
"""Fields by which the upstream reads more than the body, or reads it again."""


class Shape(msgspec.Struct, frozen=True):
    """What of a request its cost depends on."""

    body_bytes: int
    """Each may be a token of the prompt, save those that `known_tokens` stands for."""
    max_tokens: int | None
    images: int = 0
    unbounded: bool = False
    """The prompt may hold content that the body only names."""
    web_search: bool = False
    fast: bool = False
    inference_geo: str | None = None
    defined_tools: bool = False
    """The prompt may have instructions for tools that the API defines."""
    known_tokens: int = 0
    """Most that the part of the prompt outside `body_bytes` has, as an earlier answer told (`known.py`)."""


def shape_of(ask: Ask, body: bytes, *, max_tokens: int | None = None) -> Shape:
    """The shape of a request as far as its peeked fields tell; `max_tokens` is what a policy clamped it to."""
    return Shape(
        body_bytes=len(body),
        max_tokens=ask.max_tokens if max_tokens is None else max_tokens,
        unbounded=bool(ask.server_tools) or not _unshown_keys.isdisjoint(ask.spans) or _compacts(ask, body),
        web_search=any(tool.startswith("web_search") for tool in ask.server_tools),
        fast=ask.speed == "fast",
        inference_geo=ask.inference_geo,
        defined_tools=_defined_tool.search(body, *ask.spans.get("tools", (0, 0))) is not None,
    )


def bounded(shape: Shape, content: Content) -> Shape:
    """`shape` with what only a look at every message finds; a strict estimate needs it."""
    return msgspec.structs.replace(shape, images=content.images, unbounded=shape.unbounded or content.unbounded)


def counted(shape: Shape, prompt_tokens: int) -> Shape:
    """`shape` (of `shape_of`) whose whole prompt the upstream has counted: images and files are in the count.

    The API calls its count an estimate that may be off by a few tokens; the overhead is held on top of it. A request
    that the upstream reads in several passes stays unbounded: the count is of the first.
    """
    return msgspec.structs.replace(shape, body_bytes=0, images=0, known_tokens=prompt_tokens)


def _compacts(ask: Ask, body: bytes) -> bool:
    """Context edits that only clear shorten the prompt; one that compacts is a model pass more."""
    start, end = ask.spans.get("context_management", (0, 0))
    return b"compact" in body[start:end] or b"\\u00" in body[start:end]


def prompt_tokens_max(price: Price, shape: Shape) -> int:
    """The longest prompt that it can be."""
    if shape.unbounded:
        return price.context_window
    overhead = PROMPT_OVERHEAD_TOKENS + shape.defined_tools * DEFINED_TOOLS_TOKENS
    return min(price.context_window, shape.known_tokens + shape.body_bytes + overhead + shape.images * IMAGE_TOKENS_MAX)


def tightest(shapes: Iterable[Shape]) -> Shape:
    """Of several shapes of one request, the one that bounds its prompt best."""
    return min(
        shapes, key=lambda each: (each.unbounded, each.known_tokens + each.body_bytes + each.images * IMAGE_TOKENS_MAX)
    )


def output_tokens_max(price: Price, shape: Shape) -> int:
    """The longest answer that it can get; prompt and answer together fit the context window."""
    return price.max_output if shape.max_tokens is None else min(max(0, shape.max_tokens), price.context_window)


def strict_nanousd(price: Price, shape: Shape, *, multiplier: int = UNIT) -> int:
    """The most the request can cost (see the module's docstring for how far that reaches).

    `multiplier`: what the dearest upstream it may go to charges of the list price, in ten-thousandths.
    """
    prompt, output = prompt_tokens_max(price, shape), output_tokens_max(price, shape)
    candidates = [price.rates_for(prompt, fast=False), price.rates_for(prompt, fast=shape.fast)]
    picousd = max(rates.dearest_input * prompt + rates.output * output for rates in candidates)
    return priced_nanousd(price, shape, picousd, multiplier)


def priced_nanousd(price: Price, shape: Shape, picousd: int, multiplier: int) -> int:
    """Tokens worth `picousd` at list price, and the searches of the shape, at an upstream that charges `multiplier`."""
    searches = SERVER_TOOL_SEARCHES * price.web_search_picousd if shape.web_search else 0
    tokens = picousd * geo_multiplier(price, shape.inference_geo) * multiplier
    return round_up_nanousd(tokens + searches * SEARCH_SCALE)


def worst(price: Price, shape: Shape, *, multiplier: int = UNIT) -> Amounts:
    """The most of every meter."""
    output = output_tokens_max(price, shape)
    return Amounts(
        cost=strict_nanousd(price, shape, multiplier=multiplier),
        output_tokens=output,
        total_tokens=prompt_tokens_max(price, shape) + output,
    )
