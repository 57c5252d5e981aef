"""Fixtures that several test modules share."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

# DeepSpeed, which transformers and accelerate import where it is installed, says on stdout what it takes unless told.
os.environ.setdefault("DS_ACCELERATOR", "cpu")


def _maker():
    # With --import-mode=importlib the tests' folder is not on sys.path, so the module is loaded from its file.
    if "tiny_world" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tiny_world", Path(__file__).parent / "tiny_world.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["tiny_world"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tiny_world"])
    return sys.modules["tiny_world"].make_tiny_world


@pytest.fixture(scope="session")
def tiny_world_path(tmp_path_factory):
    """The folder of a tiny world; tests that damage it copy it first."""
    return _maker()(tmp_path_factory.mktemp("worlds") / "tiny")


@pytest.fixture(scope="session")
def tiny_world(tiny_world_path):
    """The tiny world, loaded."""
    from mmsearch_env.worlds import load_world

    return load_world(tiny_world_path)


@pytest.fixture
def ctrl_c():
    """Ctrl-C is heard, also where a shell without job control has started the tests in the background, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_env(tiny_world):
    """A function that makes `MMSearch-v0` over the tiny world."""
    import gymnasium as gym

    made = []

    def make(**options):
        options.setdefault("world", tiny_world)
        env = gym.make("mmsearch_env:MMSearch-v0", **options)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


class NetworkUsedError(RuntimeError):
    """A test tried to leave the machine. No OSError, so that code which expects a network to fail cannot hide it."""


def _is_local(host):
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Lets sockets reach this machine only, unless the test is marked `network`."""
    if request.node.get_closest_marker("network"):
        return

    def guard(original, host_of):
        def guarded(*args, **options):
            host = host_of(*args)
            if not _is_local(host):
                raise NetworkUsedError(f"Expected a test to stay on this machine, got a connection to {host!r}.")
            return original(*args, **options)

        return guarded

    def peer(sock, address):
        return address[0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None

    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, guard(getattr(socket.socket, method), peer))
    monkeypatch.setattr(socket, "getaddrinfo", guard(socket.getaddrinfo, lambda host, *_: host))
