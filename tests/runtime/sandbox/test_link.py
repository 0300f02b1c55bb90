"""A child that does not keep to the frames, speaks unasked, stays silent or dies is ended, and it is said why."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from runtime.ports import SandboxFailed
from runtime.sandbox.framing import DELIVER, DRAINED, encode
from runtime.sandbox.link import Link

ANSWER = encode(DRAINED, b"{}")


@asynccontextmanager
async def child(code: str) -> AsyncGenerator[Link]:
    """A child that runs this instead of a sandbox."""
    link = Link()
    await asyncio.get_running_loop().subprocess_exec(
        lambda: link,
        *(sys.executable, "-I", "-S", "-c", f"import os, signal, time\n{code}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield link
    finally:
        await link.close()


async def failure_of(link: Link, seconds: float = 20.0) -> SandboxFailed:
    with pytest.raises(SandboxFailed) as caught:
        await link.receive(seconds)
    return caught.value


async def test_frames_go_both_ways() -> None:
    async with child(f"os.read(0, 1); os.write(1, {ANSWER!r} * 2); os.read(0, 99); os.read(0, 99)") as link:
        link.send([encode(DELIVER, b"a"), encode(DELIVER, b"b")])
        assert [(await link.receive(20)).payload, (await link.receive(20)).payload] == [b"{}", b"{}"]


async def test_w103_silent_child_is_killed_after_the_heartbeat() -> None:
    async with child("time.sleep(600)") as link:
        link.send([encode(DELIVER, b"")])
        failure = await failure_of(link, 0.2)
        assert (failure.code, "did not answer within 0.2 s" in failure.message) == ("script_killed", True)


BABBLE = {
    "junk": "os.write(1, b'x' * 100)",
    "a length that is a lie": "os.write(1, b'\\xff\\xff\\xff\\xff')",
    "an answer too many": f"os.write(1, {ANSWER!r} * 2)",
    "half an answer more": f"os.write(1, {ANSWER!r} + b'\\0')",
}


@pytest.mark.parametrize("code", BABBLE.values(), ids=BABBLE.keys())
async def test_child_that_breaks_the_protocol_is_killed(code: str) -> None:
    async with child(f"{code}\nos.read(0, 1)") as link:
        link.expect(1)
        with pytest.raises(SandboxFailed, match="does not keep to its protocol") as caught:
            for _ in range(3):
                await link.receive(20)
        assert caught.value.code == "protocol"


DEATHS = {
    "by too much time": ("os.kill(os.getpid(), signal.SIGXCPU)", "script_timeout", "CPU"),
    "by a forbidden call": ("os.kill(os.getpid(), signal.SIGSYS)", "script_killed", "system call"),
    "by a fault": ("os.kill(os.getpid(), signal.SIGSEGV)", "script_killed", f"signal {signal.SIGSEGV:d}"),
    "by itself": ("os._exit(3)", "script_killed", "status 3"),
}


@pytest.mark.parametrize(("code", "expected", "word"), DEATHS.values(), ids=DEATHS.keys())
async def test_child_that_dies_says_how(code: str, expected: str, word: str) -> None:
    async with child(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n{code}") as link:
        link.expect(1)
        failure = await failure_of(link)
        assert failure.code == expected
        assert word in failure.message


async def test_closed_link_gives_nothing_more_and_closes_again() -> None:
    async with child("os.read(0, 1)") as link:
        await link.close()
        assert (await failure_of(link)).message == "the sandbox was closed"
        link.send([encode(DELIVER, b"")])
        await link.close()
