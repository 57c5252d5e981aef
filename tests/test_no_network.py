"""The suite itself stays on this machine."""

import socket

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443)])
def test_a_test_cannot_leave_this_machine(address):
    with pytest.raises(RuntimeError, match="stay on this machine"):
        socket.create_connection(address, timeout=1)
    with socket.socket() as plain, pytest.raises(RuntimeError, match="stay on this machine"):
        plain.connect(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_test_can_reach_a_server_on_this_machine(host):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((host, server.getsockname()[1]), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()
