"""Namespaces, timed programs, memory: what all benchmarks stand on."""

import ctypes
import os
import re
import signal
import statistics
import subprocess
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

GUEST = "10.99.0.2"
GATEWAY = "10.99.0.1"
OUTSIDE = "192.0.2.2"
HOST = "192.0.2.1"


class Failed(Exception):
    """A program that did not do what it was run for."""


def shell(command):
    subprocess.run(command, shell=True, check=True)


def prepare():
    """Empty folders for state and namespaces in this mount namespace; in memory, as /run is on every host."""
    for folder in ("/run/netns", "/run/portmap"):
        os.makedirs(folder, exist_ok=True)
        shell(f"mount -t tmpfs -o mode=0755 tmpfs {folder}")


class Machine:
    """A host in a network namespace with a guest behind it and a client outside; a contender has one of its own."""

    count = 0

    def __init__(self):
        Machine.count += 1
        self.host, self.guest, self.outside = (f"{kind}{Machine.count}" for kind in ("host", "guest", "out"))
        shell(
            # Few sockets in TIME_WAIT, or a fast client has no port left after some seconds.
            f"for n in {self.host} {self.guest} {self.outside}; do ip netns add $n; ip -n $n link set lo up;"
            "  ip netns exec $n sysctl -qw net.ipv4.tcp_max_tw_buckets=1024; done;"
            f"ip -n {self.host} link add g0 type veth peer name eth0 netns {self.guest};"
            f"ip -n {self.host} link add eth0 type veth peer name eth0 netns {self.outside};"
            f"ip -n {self.host} address add {GATEWAY}/24 dev g0; ip -n {self.host} link set g0 up;"
            f"ip -n {self.host} address add {HOST}/24 dev eth0; ip -n {self.host} link set eth0 up;"
            f"ip -n {self.guest} address add {GUEST}/24 dev eth0; ip -n {self.guest} link set eth0 up;"
            f"ip -n {self.guest} route add default via {GATEWAY};"
            f"ip -n {self.outside} address add {OUTSIDE}/24 dev eth0; ip -n {self.outside} link set eth0 up;"
            f"ip netns exec {self.host} sysctl -qw net.ipv4.ip_forward=1"
        )

    def enter(self, place=None):
        """Makes this process, and what it starts from now on, part of the host or of another of its namespaces."""
        descriptor = os.open(f"/run/netns/{place or self.host}", os.O_RDONLY)
        try:
            if libc.setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)


def timed(words, text="", environment=None):
    """Seconds that a program takes from its start to its end; it must succeed."""
    stdin = os.memfd_create("stdin")
    os.write(stdin, text.encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    output = os.memfd_create("output")
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    try:
        start = time.perf_counter()
        pid = os.posix_spawnp(words[0], words, environment or os.environ, file_actions=actions)
        status = os.waitpid(pid, 0)[1]
        elapsed = time.perf_counter() - start
        if status != 0:
            os.lseek(output, 0, os.SEEK_SET)
            shown = " ".join(words)[:200]
            raise Failed(f"{shown}: status {status}: {os.read(output, 2000).decode(errors='replace')}")
        return elapsed
    finally:
        os.close(stdin)
        os.close(output)


def answer(words):
    """What a program prints."""
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failed(f"{' '.join(words)[:200]}: {result.stderr.strip()}")
    return result.stdout


def start(words, pass_pipe=False):
    """Starts a program in the background, silent; `pass_pipe` gives it a descriptor 3 to say that it is ready."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        # A shell puts the descriptor at 3 without leaving anything else open.
        command = ["bash", "-c", 'exec 3>/dev/null; exec "$@"', "bash", *words] if pass_pipe else words
        return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
    finally:
        os.close(null)


def docker_proxy_link(settings):
    """The name by which portmap is docker's proxy."""
    return link(settings, "docker-proxy")


def link(settings, name):
    """A name by which portmap is called."""
    link = f"{settings.folder}/link/{name}"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(settings.portmap, link)
    return link


def stop(processes):
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def memory(pids):
    """Kilobytes of processes together: (anonymous, proportional)."""
    os.sync()  # Pages of a file that was just written count as dirty.
    sums = {"Anonymous": 0, "Pss": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for name, size in re.findall(r"^(\w+): +(\d+) kB", file.read(), re.M):
                if name in sums:
                    sums[name] += int(size)
    return sums["Anonymous"], sums["Pss"]


def wait_for_port(address, port, seconds=5):
    """Waits until something listens."""
    import socket

    deadline = time.time() + seconds
    while time.time() < deadline:
        with socket.socket() as client:
            client.settimeout(1)
            if client.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on {address}:{port}")


def median(values):
    return statistics.median(values)
