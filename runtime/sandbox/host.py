"""Opens sandboxes: one child process per run, without environment, files, network or rights (W103).

A child is started per run and killed at its end; none is kept, since a start takes about 20 ms.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import _quickjs
import msgspec

from runtime.core import limits as bounds
from runtime.core.limits import Limits
from runtime.core.model import FailureCode
from runtime.core.program import Delivery, Drained, Program
from runtime.ports import SandboxFailed
from runtime.sandbox import judge
from runtime.sandbox.framing import DELIVER, DRAINED, NEST, READY, START, Frame, FrameFault, encode
from runtime.sandbox.link import Link

START_SECONDS_MAX = 20.0
"""For a child to be ready, on a machine that has much to do."""
STARTS_AT_ONCE = 4
"""Each start takes the gateway some milliseconds: many runs that begin together leave it time for others."""
FRAMES_AT_ONCE = 8
"""Deliveries that are sent together. What one of them may lead to is bounded, and so is what all of them do, while a
script that asks for little seldom waits for the gateway.
"""
MEASURES = frozenset("dies_with_host no_new_privileges memory cpu files processes file_size core system_calls".split())
"""What a child can take away from itself."""
COMMAND = "import sys; sys.path += sys.argv[1:3]; from runtime.sandbox.child import main; main()"
ENVIRONMENT = {"TZ": "UTC0"}
"""All that a child is given: dates are in UTC, wherever it runs (W38)."""
TOLD: tuple[FailureCode, ...] = ("script_timeout", "script_killed", "runaway_script", "script_out_of_memory")
"""Why a child gives up by itself."""


_log = logging.getLogger(__name__)


class Hardening(msgspec.Struct, frozen=True):
    """What keeps a sandbox in on this machine. `missing`: what the system here does not offer."""

    measures: tuple[str, ...]
    missing: tuple[str, ...]


class Opening(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A script as the prelude takes it."""

    body: str
    meta: msgspec.Raw
    args: msgspec.Raw | msgspec.UnsetType
    total: int | None
    spent: int
    pipeline_null: Literal["stop", "pass"]
    strict_options: bool


class ChildSandboxes:
    """Where sandboxes come from."""

    def __init__(self) -> None:
        self.hardening: Hardening | None = None
        """Of the child that was opened last; None before the first one."""
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)

    async def open(self, limits: Limits) -> "ChildSandbox":
        """Raises `SandboxFailed`."""
        async with self._starts:
            return await self._open(limits)

    async def _open(self, limits: Limits) -> "ChildSandbox":
        link = Link()
        link.expect(1)
        try:
            await _start_child(link, limits)
            frame = await link.receive(START_SECONDS_MAX)
            self._note(_hardening(frame))
        except BaseException:
            await link.close()
            raise
        return ChildSandbox(link, limits)

    def _note(self, hardening: Hardening) -> None:
        """What this system does not have is told once."""
        if self.hardening is None and hardening.missing:
            _log.warning("scripts run without %s, which this system does not have", ", ".join(hardening.missing))
        self.hardening = hardening


class ChildSandbox:
    """One script in a process of its own. One request at a time; one that fails or is given up kills it."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self._link = link
        self._limits = limits
        self._judge = judge.Judge()
        self._program: Program | None = None

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._link.pid

    async def start(self, program: Program) -> Drained:
        """Run it until it waits. Raises `SandboxFailed`, as `deliver` does."""
        self._program = program
        [drained] = await self._exchange([_framed(START, _opening(program, program, 0))])
        return drained

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Drained]:
        """One drain after each delivery, in order; fewer when the script ended before the last, or asks for so much
        that the gateway first has to take that in: then the script has not been told the rest.
        """
        return await self._exchange([self._delivery(delivery) for delivery in deliveries])

    async def close(self) -> None:
        """Kill it. May be called at any time and more than once."""
        await self._link.close()

    def _delivery(self, delivery: Delivery) -> bytes:
        if delivery.program is None:
            return _framed(DELIVER, msgspec.json.encode(delivery), delivery.id)
        assert self._program is not None
        return _framed(NEST, _opening(delivery.program, self._program, delivery.spent), delivery.id)

    async def _exchange(self, frames: list[bytes]) -> list[Drained]:
        drains: list[Drained] = []
        sent = ops = size = 0
        try:
            while len(drains) < len(frames):
                if len(drains) == sent:
                    if ops >= judge.OPS_PER_DRAIN_MAX or size >= judge.CHARS_PER_DRAIN_MAX:
                        break
                    self._link.send(frames[sent : sent + FRAMES_AT_ONCE])
                    sent += len(frames[sent : sent + FRAMES_AT_ONCE])
                frame = await self._link.receive(self._limits.heartbeat_seconds)
                drains.append(self._drained(frame))
                ops, size = ops + len(drains[-1].ops), size + len(frame.payload)
                if drains[-1].end is not None:
                    self._link.fail(SandboxFailed("script_killed", "the script has ended"))
                    break
        except SandboxFailed as failure:
            self._link.fail(failure)
            raise
        except asyncio.CancelledError:
            self._link.fail(SandboxFailed("script_killed", "the sandbox was given up in the middle of a request"))
            raise
        return drains

    def _drained(self, frame: Frame) -> Drained:
        if frame.kind != DRAINED:
            raise _told_failure(frame)
        try:
            return self._judge.drained(frame.payload)
        except judge.Disbelieved as doubt:
            raise SandboxFailed("protocol", f"the sandbox does not keep to its protocol: {doubt}") from None


async def _start_child(link: Link, limits: Limits) -> None:
    places = (str(Path(__file__).parents[2]), str(Path(_quickjs.__file__).parent))
    numbers = (str(os.getpid()), repr(limits.drain_cpu_seconds), repr(limits.total_cpu_seconds))
    words = [f"{name}={value}" for name, value in bounds_of(limits).items()]
    arguments = [sys.executable, "-I", "-S", "-c", COMMAND, *places, *numbers, *words]
    try:
        await asyncio.get_running_loop().subprocess_exec(
            lambda: link,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as fault:
        raise SandboxFailed("script_killed", f"no process could be started for the script: {fault}") from None


def bounds_of(limits: Limits) -> dict[str, int]:
    """What the prelude and its engine hold the script to."""
    return {
        "heapBytes": limits.heap_bytes,
        "stackBytes": limits.stack_bytes,
        "items": bounds.ITEMS_MAX,
        "timers": bounds.TIMERS_MAX,
        "timerMs": bounds.TIMER_MS_MAX,
        "promptBytes": bounds.PROMPT_BYTES_MAX,
        "argsBytes": bounds.ARGS_BYTES_MAX,
        "artefactBytes": bounds.ARTEFACT_BYTES_MAX,
        "resultDepth": bounds.RESULT_DEPTH_MAX,
        "labelChars": bounds.LABEL_CHARS_MAX,
        "logChars": bounds.LOG_CHARS_MAX,
        "logLines": bounds.LOG_LINES_MAX,
        "logBytes": bounds.LOG_BYTES_MAX,
        "messageChars": judge.ERROR_CHARS_MAX,
        "opsPerDrain": judge.OPS_PER_DRAIN_MAX,
        "charsPerDrain": judge.CHARS_PER_DRAIN_MAX,
        "scopeChars": judge.SCOPE_CHARS_MAX,
        "textChars": judge.TEXT_CHARS_MAX,
        "tools": judge.TOOLS_MAX,
    }


def _opening(program: Program, root: Program, spent: int) -> bytes:
    """A nested workflow has its own text and args, and everything else from the run (W108)."""
    opening = Opening(
        body=program.body,
        meta=program.meta,
        args=msgspec.UNSET if program.args is None else program.args,
        total=root.budget_total,
        spent=spent,
        pipeline_null=root.pipeline_null,
        strict_options=root.strict_options,
    )
    return msgspec.json.encode(opening)


def _framed(kind: int, payload: bytes, id: int = 0) -> bytes:
    try:
        return encode(kind, payload, id)
    except FrameFault as fault:
        raise SandboxFailed("script_out_of_memory", f"a value is too large for the script: {fault}") from None


def _hardening(frame: Frame) -> Hardening:
    measures = frame.payload.decode("ascii", "replace").split()
    if frame.kind != READY or not MEASURES.issuperset(measures):
        raise SandboxFailed("protocol", "the sandbox does not keep to its protocol: it does not say that it is ready")
    return Hardening(tuple(measures), tuple(sorted(MEASURES.difference(measures))))


def _told_failure(frame: Frame) -> SandboxFailed:
    """The child gave up by itself, and says why."""
    code, _, message = frame.payload.decode("utf-8", "replace").partition(" ")
    if code not in TOLD or len(message) > judge.ERROR_CHARS_MAX:
        return SandboxFailed("protocol", "the sandbox does not keep to its protocol: it fails without a reason")
    return SandboxFailed(msgspec.convert(code, FailureCode), message)
