"""The filter lets through what a sandbox needs, and kills the process for anything else."""

import signal
import subprocess
import sys

import pytest

from runtime.sandbox import seccomp
from runtime.sandbox.seccomp import ALLOW, KILL, NUMBERS, RETURN, rules_for

HARDEN = """
import ctypes, mmap, os, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
anonymous = lambda protection: libc.mmap(None, 4096, protection, 0x22, -1, 0)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
from runtime.sandbox.hardening import harden
had = harden(64 << 20, 60.0, os.getppid())
assert "system_calls" in had, had
"""
FORBIDDEN = {
    "open a file": "os.open('/etc/passwd', os.O_RDONLY)",
    "make a socket": "socket.socket()",
    "start a process": "os.fork()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "signal another": "os.kill(1, 0)",
    "write elsewhere": "os.write(2, b'x')",
    "read elsewhere": "os.read(1, 1)",
    "executable memory": "anonymous(7)",
    "trace another": "libc.ptrace(16, 1, 0, 0)",
    "look at files": "os.stat('/')",
    "more privileges": "os.setuid(0)",
}
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a filter of Linux")


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", HARDEN + code], input=b"in", capture_output=True, timeout=30)


@pytest.mark.parametrize("code", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_w28_forbidden_system_call_kills_the_process(code: str) -> None:
    assert run(code + "\nos.write(1, b'survived')").returncode == -signal.SIGSYS


def test_work_of_a_sandbox_goes_on_under_the_filter() -> None:
    done = run("held = [bytearray(1 << 20) for _ in range(20)]\nos.write(1, os.read(0, 2)); anonymous(3); os._exit(5)")
    assert (done.returncode, done.stdout) == (5, b"in")


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_filter_ends_in_death_and_jumps_stay_inside(machine: str) -> None:
    rules = rules_for(machine)
    assert rules is not None and rules[-1] == (RETURN, 0, 0, KILL)
    assert all(at + 1 + max(yes, no) < len(rules) for at, (_, yes, no, _) in enumerate(rules))


def test_filter_allows_only_by_a_named_number() -> None:
    rules = rules_for("x86_64") or []
    assert sum(rule == (RETURN, 0, 0, ALLOW) for rule in rules) == len(NUMBERS["x86_64"])


def test_unknown_machine_has_no_filter() -> None:
    assert rules_for("pdp11") is None
    assert seccomp.install("pdp11") is False
