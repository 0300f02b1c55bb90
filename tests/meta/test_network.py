"""No test leaves this machine: the guard of tests/conftest.py holds."""

import socket

import pytest

OUTSIDE = "192.0.2.1"
"""Reserved for documentation: nobody's address."""


def test_connection_off_loopback_is_refused() -> None:
    with socket.socket() as outside, pytest.raises(RuntimeError, match="only reach loopback"):
        outside.connect((OUTSIDE, 9))


def test_datagram_off_loopback_is_refused() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(RuntimeError, match="only reach loopback"):
        outside.sendto(b"x", (OUTSIDE, 9))


def test_name_off_this_machine_is_not_looked_up() -> None:
    with pytest.raises(RuntimeError, match="only look up localhost"):
        socket.getaddrinfo("ringfence.invalid", 443)


def test_loopback_stays_reachable_by_address_and_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1])) as client:
            assert client.getpeername()[0] == "127.0.0.1"
