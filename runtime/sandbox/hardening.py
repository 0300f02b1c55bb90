"""What a sandbox takes away from itself before it sees a script. Runs inside the child; tells what could be had."""

import ctypes
import os
import resource
import sys
import time

from runtime.sandbox import seccomp

MEMORY_BYTES_BESIDE_HEAP = 192 * 1024 * 1024
"""Address space of the interpreter itself, and of the messages that it holds."""
CPU_SECONDS_BESIDE_SCRIPT = 10
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIGKILL = 9

MEASURES = (
    "dies_with_host", "no_new_privileges", "memory", "cpu", "files", "processes", "file_size", "core", "system_calls",
)  # fmt: skip
"""All there are, in the order in which they are taken."""


def harden(heap_bytes: int, cpu_seconds: float, host_pid: int) -> list[str]:
    """Which of `MEASURES` hold from now on. Ends the process when its host is gone already."""
    time.tzset()  # reads its file now: later no file can be opened
    linux = sys.platform == "linux"
    _yield_to_host()
    had = ["dies_with_host"] if linux and _prctl(PR_SET_PDEATHSIG, SIGKILL) else []
    if os.getppid() != host_pid:
        os._exit(0)
    if linux and _prctl(PR_SET_NO_NEW_PRIVS, 1):
        had.append("no_new_privileges")
    memory_bytes = heap_bytes + MEMORY_BYTES_BESIDE_HEAP
    bounds = {
        "memory": (resource.RLIMIT_AS, memory_bytes),
        "cpu": (resource.RLIMIT_CPU, int(cpu_seconds) + CPU_SECONDS_BESIDE_SCRIPT),
        "processes": (resource.RLIMIT_NPROC, 0),
        "file_size": (resource.RLIMIT_FSIZE, 0),
        "core": (resource.RLIMIT_CORE, 0),
        "files": (resource.RLIMIT_NOFILE, 0),
    }
    machine = os.uname().machine
    had += [name for name, (kind, most) in bounds.items() if _lower(kind, most)]
    if linux and "no_new_privileges" in had and seccomp.install(machine):
        had.append("system_calls")
    return had


def _yield_to_host() -> None:
    """On a core that both want, the host goes on when it wakes the script: else its loop stands still meanwhile."""
    try:
        if sys.platform == "linux":
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        return


def _lower(kind: int, most: int) -> bool:
    try:
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    except (ValueError, OSError):
        return False
    return True


def _prctl(option: int, value: int) -> bool:
    return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
