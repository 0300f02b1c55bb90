"""What every test gets: no network off loopback, a quick folder, an order, two hypothesis profiles. Fakes: support/."""

import contextlib
import ipaddress
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# `fast` draws the same examples every time, so that a red test is about the change; `deep` looks for new ones.
settings.register_profile("fast", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("RINGFENCE_FUZZ", "fast"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a shell: commands that tests interrupt would inherit that nobody can.
    signal.signal(signal.SIGINT, signal.default_int_handler)


MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 1024**3


def choose_folder() -> None:
    """Files of tests lie in memory where there is room: a database on a disk waits for it at every commit.

    Nothing that a test proves depends on the disk, for none can cut its power.
    """
    with contextlib.suppress(OSError):
        room = os.statvfs(MEMORY)
        is_roomy = room.f_bavail * room.f_frsize >= MEMORY_BYTES_MIN
        if is_roomy and not room.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK):
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


choose_folder()


class OffLoopback(RuntimeError):
    """A test tried to reach a host that is not this machine."""


def is_loopback(host: object) -> bool:
    """True for loopback addresses, the wildcard address, and no host at all."""
    text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text == "localhost"
    return address.is_loopback or address.is_unspecified


def guard_network(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: refuses connections, datagrams and name look-ups that would leave loopback."""
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        if isinstance(address, tuple) and not is_loopback(address[0]):
            raise OffLoopback(f"a test may only reach loopback, not {address[0]}")
    elif event == "socket.getaddrinfo" and not is_loopback(args[0]):
        raise OffLoopback(f"a test may only look up localhost, not {args[0]}")


sys.addaudithook(guard_network)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Who runs what, with `-n`. Only then is there such a plugin to import."""
    from tests.support.turns import OneStormAtATime

    return OneStormAtATime(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for real time begins first, so that others run beside it and nobody waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)
