"""Two pytest fixtures: a listening socket from portmap, and a port for a server that binds it itself.

    portmap alloc -- pytest recipes/test_server.py     for the first
    pytest recipes/test_server.py                      the first is skipped then
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest


@pytest.fixture
def listener():
    """The socket that `portmap alloc -- pytest` has passed on: it has listened since before the tests began."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        pytest.skip("run it as: portmap alloc -- pytest")
    with socket.socket(fileno=os.dup(3)) as passed:
        yield passed


@pytest.fixture
def port():
    """A port that the kernel and portmap give to nobody else until the test is over."""
    number = subprocess.run(["portmap", "alloc", "--lend"], check=True, capture_output=True, text=True).stdout.strip()
    yield int(number)
    subprocess.run(["portmap", "unmap", "--if-exists", number], check=True)


def test_with_a_socket(listener):
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
        served, _ = listener.accept()
        with served:
            served.sendall(b"hello")
        assert client.recv(5) == b"hello"


def test_with_a_port(port):
    server = subprocess.Popen([sys.executable, "-m", "http.server", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    assert answer.status == 200
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the server did not start")
    finally:
        server.terminate()
        server.wait()
