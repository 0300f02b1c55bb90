"""One script in one QuickJS context, driven through the prelude's bridge. Runs inside the child; no messages here.

The engine gets no Python callable: one would switch its time limit off, and what it raises would cross into the script.
"""

import os
import time

import _quickjs

JOBS_BETWEEN_LOOKS = 256
"""A script that has ended is noticed after so many jobs, when its leftovers would go on for ever."""
LAST_LOOK_SECONDS = 0.1
INTERRUPT_SECONDS_LATER = 0.05
"""The engine reads coarser time, and a promise can swallow its interrupt: by then the allowance is used up for sure."""
LINE_MESSAGE_CHARS_MAX = 500
COMPUTE_LESS = "leave to agents what takes long, and bound its loops"


class Broken(Exception):
    """The script broke a limit. `code` is the failure code of the run."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Allowance:
    """CPU seconds of a run: of the drain at hand, and in all.

    Those of the thread, the only one there is: a process under a CPU limit reads its own in ticks of some milliseconds.
    """

    def __init__(self, drain_seconds: float, total_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._total_seconds = total_seconds
        self._used_seconds = 0.0
        self._began = 0.0

    def begin(self) -> None:
        """A drain begins."""
        self._began = time.thread_time()

    def end(self) -> float:
        """It is over; the seconds that it took. Raises `Broken`, since a native loop only shows here."""
        self.left_seconds()
        spent_seconds = time.thread_time() - self._began
        self._used_seconds += spent_seconds
        return spent_seconds

    def left_seconds(self) -> float:
        """Raises `Broken` when nothing is left."""
        spent_seconds = time.thread_time() - self._began
        most = min(self._drain_seconds, self._total_seconds - self._used_seconds)
        if spent_seconds < most:
            return most - spent_seconds
        raise self.overrun()

    def overrun(self) -> Broken:
        """What to say when the limit is reached."""
        if self._total_seconds - self._used_seconds <= self._drain_seconds:
            used = f"{self._total_seconds:g} s of CPU in all"
        else:
            used = f"{self._drain_seconds:g} s of CPU without waiting for anything"
        return Broken("script_timeout", f"the script used more than {used}; {COMPUTE_LESS}")


class Taken:
    """What one context asked for until it waited or ended. `shared` is the state that the next context goes on with."""

    __slots__ = ("next_id", "ops", "shared", "standing")

    def __init__(self, ops: list[str], head: str) -> None:
        next_id, self.standing, _, self.shared = head.split(" ", 3)
        self.next_id = int(next_id)
        self.ops = ops


def load_prelude(folder: str) -> str:
    """Its files in order, as one expression: a function of the bounds that gives the bridge."""
    parts: list[str] = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            parts.append(file.read())
    return '(function (bounds) { "use strict";\n' + "\n".join(parts) + "\n})"


class Script:
    """A context with its prelude. Every call into it runs under what is left of the allowance.

    The prelude stands below the last line that the script can have, so that a line tells whose a frame of a stack is.
    """

    def __init__(self, prelude: str, bounds: dict[str, int], allowance: Allowance, *, lines: int) -> None:
        self._allowance = allowance
        self._context = _quickjs.Context()
        self._context.set_max_stack_size(bounds["stackBytes"])
        self.set_heap_bytes(bounds["heapBytes"])
        literal = "({" + ",".join(f"{name}:{value}" for name, value in bounds.items()) + f",scriptLines:{lines}" + "})"
        self._bridge = self._context.eval("\n" * lines + prelude)(self._context.eval(literal))

    def set_heap_bytes(self, most: int) -> None:
        """What it may hold from now on."""
        self._context.set_memory_limit(most)

    def heap_bytes(self) -> int:
        """What it holds."""
        return self._context.memory()["malloc_size"]

    def tell(self, verb: str, *words: str | int) -> str | int | bool | None:
        """One call of the bridge. Raises `Broken`."""
        self._limit_time()
        try:
            return self._bridge(verb, *words)
        except _quickjs.JSException as error:
            raise self._broken(error) from None

    def drain(self) -> Taken:
        """Run every job that can run, and take what was asked for. Raises `Broken`."""
        jobs = 0
        while self._run_job():
            jobs += 1
            if jobs % JOBS_BETWEEN_LOOKS == 0 and self.tell("over"):
                break
        ops: list[str] = []
        while True:
            head, _, text = str(self.tell("take")).partition("\n")
            if text:
                ops.append(text)
            if head.split(" ", 3)[2] == "0":
                return Taken(ops, head)

    def _run_job(self) -> bool:
        self._limit_time()
        try:
            return self._context.execute_pending_job()
        except _quickjs.JSException as error:
            raise self._broken(error) from None

    def _limit_time(self) -> None:
        self._context.set_time_limit(self._allowance.left_seconds() + INTERRUPT_SECONDS_LATER)

    def _broken(self, error: _quickjs.JSException) -> Broken:
        message = str(error)
        if self._is_flooded():
            return flooded()
        if message.startswith("InternalError: interrupted"):
            return self._allowance.overrun()
        if message.startswith(("InternalError: out of memory", "null")):
            return out_of_memory()
        return Broken("script_killed", f"the script broke its engine: {message[:LINE_MESSAGE_CHARS_MAX]}")

    def _is_flooded(self) -> bool:
        """What stopped the script may be what came of asking for too much."""
        self._context.set_time_limit(LAST_LOOK_SECONDS)
        try:
            return bool(self._bridge("flooded"))
        except _quickjs.JSException:
            return False


def flooded() -> Broken:
    """More was asked for in one drain than any run can use."""
    return Broken("runaway_script", "the script asks for too much without waiting for any of it")


def out_of_memory() -> Broken:
    """The heap is full."""
    text = "the heap of the script is full (or it threw null, which looks the same); keep less of what agents gave"
    return Broken("script_out_of_memory", text)
