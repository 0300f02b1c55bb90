"""A prompt cache that remembers hashes of request prefixes, so that usage looks like the real thing. Holds no prompt.

Order is tools, system, messages. An entry is written at each `cache_control` breakpoint and found again at any block
boundary of a later request, as with the real cache; `cache_control` itself is not part of the prefix, and a text given
as a plain string equals the same text given as a block. Tokens are bytes divided by four.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gateway.core.wire.usage import Tokens
from gateway.upstreams.simulation.conversation import content_blocks
from gateway.upstreams.simulation.values import Json, as_object

BYTES_PER_TOKEN = 4
CACHED_TOKENS_MIN = 1024
"""Shorter prefixes are silently not cached."""
ENTRIES_MAX = 4096
_LIFETIME_SECONDS = {"5m": 300.0, "1h": 3600.0}


class PrefixCache:
    """Prefixes seen by one simulated upstream."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._entries: OrderedDict[bytes, float] = OrderedDict()
        """Digest to the time it expires."""

    def read(self, document: Json) -> Tokens:
        """Input tokens of a request by kind, and remember its breakpoints."""
        total, read, written = 0, 0, {"5m": 0, "1h": 0}
        breakpoints: list[tuple[int, str, bytes]] = []
        for total, digest, lifetime in _boundaries(document):
            if self._alive(digest):
                read = total
            if lifetime is not None and total >= CACHED_TOKENS_MIN:
                breakpoints.append((total, lifetime, digest))
        reached = read
        for tokens, lifetime, digest in breakpoints:
            if tokens > reached:
                written[lifetime] += tokens - reached
                reached = tokens
            self._remember(digest, lifetime)
        return Tokens(
            input=total - reached, cache_read=read, cache_write_5m=written["5m"], cache_write_1h=written["1h"]
        )

    def _alive(self, digest: bytes) -> bool:
        return self._entries.get(digest, 0.0) > self._monotonic()

    def _remember(self, digest: bytes, lifetime: str) -> None:
        self._entries[digest] = self._monotonic() + _LIFETIME_SECONDS[lifetime]
        self._entries.move_to_end(digest)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)


def count_tokens(document: Json) -> int:
    """Input tokens of a request, whatever is cached."""
    return max((total for total, _, _ in _boundaries(document)), default=0)


def _boundaries(document: Json) -> Iterator[tuple[int, bytes, str | None]]:
    """After each block: tokens so far, digest of all so far, and the lifetime when a breakpoint is set there."""
    hasher = hashlib.blake2b(str(document.get("model")).encode(), digest_size=16)
    seen = 0
    blocks = list(_blocks(document))
    for index, (label, block) in enumerate(blocks):
        control = block.get("cache_control")
        if control is None and index == len(blocks) - 1:
            control = document.get("cache_control")
        plain = {key: value for key, value in block.items() if key != "cache_control"}
        encoded = msgspec.json.encode(plain)
        seen += len(encoded)
        hasher.update(label)
        hasher.update(encoded)
        yield -(-seen // BYTES_PER_TOKEN), hasher.digest(), _lifetime(control)


def _blocks(document: Json) -> Iterator[tuple[bytes, Json]]:
    for tool in content_blocks(document.get("tools")):
        yield b"tool", tool
    for block in content_blocks(document.get("system") or []):
        yield b"system", block
    for message in document["messages"]:
        for block in content_blocks(message.get("content")):
            yield str(message.get("role")).encode(), block


def _lifetime(control: Any) -> str | None:
    if not isinstance(control, dict):
        return None
    return "1h" if as_object(control).get("ttl") == "1h" else "5m"
