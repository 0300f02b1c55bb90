"""A process that swaps two names in a directory, as fast as the system can. No test here."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

SWAP = """
import ctypes, os, sys
rename = ctypes.CDLL(None, use_errno=True).renameat2
place, one, other = (os.fsencode(argument) for argument in sys.argv[1:])
directory = os.open(place, os.O_RDONLY)
EXCHANGE = 2
if rename(directory, one, directory, other, EXCHANGE):
    sys.exit("cannot exchange")
print("begun", flush=True)
while True:
    rename(directory, one, directory, other, EXCHANGE)
"""


@contextlib.contextmanager
def swapping(place: Path, one: str, other: str) -> Generator[None]:
    """Neither name is ever missing meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAP, os.fspath(place), one, other], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield
    finally:
        process.kill()
        process.communicate()
