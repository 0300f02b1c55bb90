"""A child that is hardened has no files, processes, memory or time beyond its bounds; a child without a host ends."""

import subprocess
import sys

from runtime.sandbox import hardening, host
from runtime.sandbox.hardening import CPU_SECONDS_BESIDE_SCRIPT, MEASURES, MEMORY_BYTES_BESIDE_HEAP

HEAD = "import os, resource, sys\nfrom runtime.sandbox import seccomp\nfrom runtime.sandbox.hardening import harden\n"


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, timeout=30)


def test_w103_bounds_of_the_process_are_set() -> None:
    # The filter is left out, since asking for a limit is a system call that it forbids.
    done = run(
        "seccomp.rules_for = lambda machine: None\n"
        "had = harden(1 << 26, 60.0, os.getppid())\n"
        "kinds = 'AS CPU NOFILE NPROC FSIZE CORE'.split()\n"
        "print([resource.getrlimit(getattr(resource, 'RLIMIT_' + kind)) for kind in kinds], 'system_calls' in had)\n"
    )
    memory, cpu = (1 << 26) + MEMORY_BYTES_BESIDE_HEAP, 60 + CPU_SECONDS_BESIDE_SCRIPT
    bounds = [(memory, memory), (cpu, cpu), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert done.stdout.decode().strip() == f"{bounds} False"


def test_child_whose_host_is_gone_ends_at_once() -> None:
    done = run("harden(1 << 26, 60.0, 1 if os.getppid() != 1 else 2)\nprint('went on')")
    assert (done.returncode, done.stdout) == (0, b"")


def test_host_knows_every_measure() -> None:
    assert frozenset(MEASURES) == host.MEASURES
    assert hardening.PR_SET_PDEATHSIG == 1
