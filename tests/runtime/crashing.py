"""Kills a process that drives a run, at random moments, and starts it again until the run has ended. No test here.

What is left behind is read from the store and from the log of the agents, by `Story`.
"""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.tasks import Tasks
from runtime.core.aside import put_back, ref_of
from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    Line,
    NestedLine,
    RefusedLine,
    ResultLine,
    StartedLine,
    StoppedLine,
    TimerLine,
    decode_line,
)
from runtime.core.model import Usage, raw_of
from runtime.ports import EventRow, RunRow, RunStore
from runtime.stores import open_run_store
from tests.runtime.crash_driver import RUN, Ended, Order

ROOT = Path(__file__).parents[2]
POINTS = 60
"""About how many points a driver passes that is not killed."""
BETWEEN_SECONDS = 0.004
"""At most so long after a point it is killed, if it does not come to the next one before."""

Settling = ResultLine | ErrorLine | RefusedLine | StoppedLine | NestedLine | TimerLine


class Driver:
    """The process that forks drivers."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None and process.stdin is not None
        self._out = process.stdout.fileno()
        self._in = process.stdin
        self._child: int | None = None

    def begin(self, order: Order) -> int:
        """The pid of a child that carries it out."""
        self._in.write(msgspec.json.encode(order) + b"\n")
        self._in.flush()
        self._child = int(self._line("p"))
        return self._child

    def pass_points(self, count: int) -> bool:
        """Return when the child came to so many points more; False: it has ended before."""
        return all(os.read(self._out, 1) == b"." for _ in range(count))

    def linger(self, seconds: float) -> None:
        """Until the next point, at most so long."""
        select.select([self._out], [], [], seconds)

    def end(self) -> int:
        """Wait for the child's end: its status, negative when it was killed."""
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self._out, 1)
        self._child = None
        return int(text.decode().lstrip(".x"))

    def kill(self) -> None:
        """The child that has not ended, if there is one."""
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)

    def _line(self, kind: str) -> str:
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self._out, 1)
        assert text[:1] == kind.encode(), text
        return text[1:].decode()


@contextlib.contextmanager
def forking() -> Generator[Driver]:
    """A process that forks drivers, until the block ends."""
    command = [sys.executable, "-m", "tests.runtime.crash_driver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        driver = Driver(process)
        try:
            yield driver
        finally:
            driver.kill()
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


def kill_once(driver: Driver, order: Order, dice: random.Random) -> bool:
    """Kill a driver at a random moment; False: it came to its end before."""
    pid = driver.begin(order)
    if not driver.pass_points(dice.randint(1, POINTS // 2)):
        driver.end()
        return False
    driver.linger(dice.uniform(0, BETWEEN_SECONDS))
    os.kill(pid, signal.SIGKILL)
    return driver.end() < 0


@dataclass(frozen=True, slots=True)
class Story:
    """All that is left of a run."""

    row: RunRow
    lines: Sequence[Line]
    events: Sequence[EventRow]
    log: Sequence[Ended]

    @property
    def ended(self) -> EndedLine:
        last = self.lines[-1]
        assert isinstance(last, EndedLine)
        return last

    @property
    def value(self) -> object:
        """What the script returned."""
        value = raw_of(self.ended.value)
        return None if value is None else msgspec.json.decode(value)

    @property
    def bill(self) -> dict[str, Usage]:
        """What each call took that came to its end by itself, by its key."""
        ends = [line for line in self.lines if isinstance(line, ResultLine | ErrorLine)]
        assert len({line.key for line in ends}) == len(ends)
        return {line.key: line.usage for line in ends}

    @property
    def settlements(self) -> list[Settling]:
        """What the script was told, in the order of the journal."""
        return [line for line in self.lines if isinstance(line, Settling) and line.seq is not None]

    def check(self) -> None:
        """What holds of every journal, whatever its processes went through."""
        assert [line.seq for line in self.settlements] == list(range(len(self.settlements)))
        assert [event.seq for event in self.events] == list(range(1, len(self.events) + 1))
        kinds = Counter(event.type for event in self.events)
        assert (kinds["workflow_run.created"], kinds["workflow_run.status_ended"]) == (1, 1), self.events
        assert self.events[0].type == "workflow_run.created"
        assert self.events[-1].type == "workflow_run.status_ended"
        assert (self.row.state, sum(isinstance(line, EndedLine) for line in self.lines)) == (self.ended.state, 1)
        self.check_attempts()

    def check_attempts(self) -> None:
        """Each has one end (W150), and none begins for a call that is settled; agents began only what was written."""
        at_work: set[tuple[int, int]] = set()
        settled: set[int] = set()
        began: set[tuple[int, int]] = set()
        for line in self.lines:
            match line:
                case StartedLine():
                    assert line.index not in settled and (line.index, line.attempt) not in began
                    at_work.add((line.index, line.attempt))
                    began.add((line.index, line.attempt))
                case ResultLine() | ErrorLine() | StoppedLine() if line.attempt:
                    at_work.remove((line.index, line.attempt))
                    settled.update([line.index] if line.seq is not None else [])
                case _:
                    pass
        assert at_work == set()
        logged = Counter((each.index, each.attempt, each.at) for each in self.log)
        assert set(logged.values()) <= {1}
        assert {(index, attempt) for index, attempt, _ in logged} <= began


async def read_story(url: str, log: Path) -> Story:
    """From a store that nobody else has open."""
    tasks = Tasks()
    store = await open_run_store(url, spawn=tasks.spawn)
    try:
        row = await store.find(RUN)
        assert row is not None
        events = await store.events(RUN, after=0, types=(), most=10**6)
        return Story(row, await read_lines(store), events, read_log(log))
    finally:
        await store.close()
        await tasks.close(1.0)


async def read_lines(store: RunStore) -> list[Line]:
    """The journal with every value in place."""
    lines = [decode_line(text) for _, text in await store.lines(RUN)]
    refs = {ref for line in lines if (ref := ref_of(line)) is not None}
    blobs = {ref: content for ref in refs if (content := await store.blob(ref)) is not None}
    return [put_back(line, blobs) for line in lines]


def read_log(log: Path) -> list[Ended]:
    """What the agents did."""
    return [msgspec.json.decode(text, type=Ended) for text in log.read_bytes().splitlines()]
