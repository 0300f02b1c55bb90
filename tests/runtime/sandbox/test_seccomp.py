"""The filter lets through what a sandbox needs, and kills the process for anything else."""

import signal
import subprocess
import sys

import pytest

from runtime.sandbox import seccomp
from runtime.sandbox.seccomp import (
    ALLOW,
    ARCHITECTURE_AT,
    ARCHITECTURES,
    ARGUMENTS_AT,
    EQUALS,
    KILL,
    LOAD,
    NUMBER_AT,
    NUMBERS,
    RETURN,
    rules_for,
)

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


def decided(
    machine: str, number: int, *, architecture: int | None = None, arguments: tuple[int, ...] = (0, 0, 0)
) -> int:
    """What the kernel would do, by the rules alone."""
    rules = rules_for(machine)
    assert rules is not None
    words = {NUMBER_AT: number, ARCHITECTURE_AT: ARCHITECTURES[machine] if architecture is None else architecture}
    words |= {ARGUMENTS_AT + 8 * at: value for at, value in enumerate(arguments)}
    at = accumulator = 0
    while True:
        code, skip_true, skip_false, operand = rules[at]
        if code == RETURN:
            return operand
        if code == LOAD:
            accumulator = words[operand]
            at += 1
            continue
        holds = accumulator == operand if code == EQUALS else bool(accumulator & operand)
        at += 1 + (skip_true if holds else skip_false)


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_only_named_numbers_pass(machine: str) -> None:
    free = {number for name, number in NUMBERS[machine].items() if name != "write"}
    assert {number for number in range(600) if decided(machine, number) == ALLOW} == free
    assert decided(machine, NUMBERS[machine]["exit"] | 0x40000000) == KILL


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_calls_of_another_architecture_are_death(machine: str) -> None:
    assert decided(machine, NUMBERS[machine]["exit"], architecture=0x40000003) == KILL


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_pipes_and_memory_are_let_through_by_their_arguments(machine: str) -> None:
    numbers = NUMBERS[machine]
    pipes = [decided(machine, numbers[name], arguments=(fd,)) for name in ("read", "write") for fd in (0, 1, 2)]
    assert pipes == [ALLOW, KILL, KILL, KILL, ALLOW, KILL]
    memory = [decided(machine, numbers["mmap"], arguments=(0, 4096, protection)) for protection in (3, 5, 7)]
    assert memory == [ALLOW, KILL, KILL]


def test_unknown_machine_has_no_filter() -> None:
    assert rules_for("pdp11") is None
    assert seccomp.install("pdp11") is False
