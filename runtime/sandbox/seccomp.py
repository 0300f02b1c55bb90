"""The system calls that a sandbox may still make, as a filter for the kernel (classic BPF). Runs inside the child.

Reading its orders, writing its answers, memory without execution, time, locks, and its own end. Anything else kills it.
"""

import ctypes
import sys

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "sched_yield": 24, "mremap": 25,
        "madvise": 28, "exit": 60, "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "exit_group": 231, "getrandom": 318,
    },
    "aarch64": {
        "read": 63, "write": 64, "exit": 93, "exit_group": 94, "futex": 98, "clock_gettime": 113, "clock_getres": 114,
        "sched_yield": 124, "restart_syscall": 128, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
        "mprotect": 226, "madvise": 233, "getrandom": 278,
    },
}  # fmt: skip
CHANNELS = {"read": 0, "write": 1}
"""The one descriptor that each of these may use."""
NOT_EXECUTABLE = ("mmap", "mprotect")

LOAD, EQUALS, HAS_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
PROT_EXEC = 4
PR_SET_SECCOMP, MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""Code, how many to skip when true, when false, operand."""


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


def rules_for(machine: str) -> list[Instruction] | None:
    """The filter for a kind of machine; None where none is known."""
    if machine not in NUMBERS or sys.byteorder != "little":
        return None
    rules: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUALS, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    for name, number in NUMBERS[machine].items():
        rules += _rule(name, number)
    return [*rules, (RETURN, 0, 0, KILL)]


def _rule(name: str, number: int) -> list[Instruction]:
    if name in CHANNELS:
        return [
            (EQUALS, 0, 4, number),
            (LOAD, 0, 0, ARGUMENTS_AT),
            (EQUALS, 0, 1, CHANNELS[name]),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, KILL),
        ]
    if name in NOT_EXECUTABLE:
        return [
            (EQUALS, 0, 4, number),
            (LOAD, 0, 0, ARGUMENTS_AT + 2 * 8),
            (HAS_BIT, 1, 0, PROT_EXEC),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, KILL),
        ]
    return [(EQUALS, 0, 1, number), (RETURN, 0, 0, ALLOW)]


def install(machine: str) -> bool:
    """Put the filter over this process, for good. Needs that it can gain no privileges."""
    rules = rules_for(machine)
    if rules is None:
        return False
    filters = (_Filter * len(rules))(*(_Filter(*rule) for rule in rules))
    program = _Program(len(rules), ctypes.cast(filters, ctypes.POINTER(_Filter)))
    return ctypes.CDLL(None).prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) == 0
