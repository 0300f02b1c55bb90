"""Sandboxes whose child lies: a program of a test's own speaks to the real host, as if a script had broken out of its
engine. No test lives here.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runtime.core.limits import Limits
from runtime.sandbox.host import ChildSandbox
from runtime.sandbox.link import Link

READY = 16
DRAINED = 17
FAILED = 18
PREAMBLE = f"""
import json, os, sys, time
DRAINED, FAILED, READY = {DRAINED}, {FAILED}, {READY}
def frame(kind, payload, id=0):
    return (5 + len(payload)).to_bytes(4, "big") + bytes([kind]) + id.to_bytes(4, "big") + payload
def say(content):
    left = memoryview(content)
    while left:
        left = left[os.write(1, left):]
def drain(*ops, end=None, cpu=0.0):
    said = {{"ops": ops, "end": end, "cpu_seconds": cpu}}
    return frame(DRAINED, said if isinstance(said, bytes) else json.dumps(said).encode())
held = b""
def hear():
    "The payload of the next order."
    global held
    while len(held) < 4 or len(held) < 4 + int.from_bytes(held[:4], "big"):
        more = os.read(0, 1 << 20)
        if not more:
            sys.exit(0)
        held += more
    size = int.from_bytes(held[:4], "big")
    taken, held = held[9 : 4 + size], held[4 + size :]
    return taken
def agent(id, prompt="x", **rest):
    return {{"op": "agent", "id": id, "scope": "", "prompt": prompt, "options": {{}}, "nested": 0}} | rest
"""


@dataclass
class LyingSandboxes:
    """Implements `ports.Sandboxes`. `lie` is Python; it follows a child that has said that it is ready."""

    lie: str
    is_ready: bool = True
    silence_seconds_max: float | None = None
    """Once it has said that it is ready; None: as long as another one may be silent."""

    async def open(self, limits: Limits) -> ChildSandbox:
        link = Link()
        link.expect(1)
        text = PREAMBLE + ("say(frame(READY, b''))\n" if self.is_ready else "") + self.lie
        try:
            await _start(link, [sys.executable, "-I", "-S", "-c", text])
            await link.receive(limits.heartbeat_seconds)
        except BaseException:
            await link.close()
            raise
        seconds = self.silence_seconds_max or limits.heartbeat_seconds
        return ChildSandbox(link, msgspec.structs.replace(limits, heartbeat_seconds=seconds))


async def _start(link: Link, arguments: Sequence[str]) -> None:
    await asyncio.get_running_loop().subprocess_exec(
        lambda: link,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
