"""What `apply --watch` costs while nothing happens, how long a lost rule is lost, and what a thousand lines take."""

import os
import socket
import subprocess
import time

import lab

FLUSHES = {
    "nft flush ruleset": ["nft", "flush", "ruleset"],
    "iptables -t nat -F": ["iptables", "-t", "nat", "-F"],
}
SERVER = """
import socket
s = socket.create_server(("", 80))
while True:
    c, peer = s.accept()
    c.sendall(peer[0].encode()); c.close()
"""


def run(settings, results):
    recovery(settings, results)
    thousand(settings, results)


class Watcher:
    """`apply --watch` with a file of these lines, ready when this is made."""

    def __init__(self, settings, lines):
        os.makedirs(settings.folder, exist_ok=True)
        path = f"{settings.folder}/portmap.conf"
        with open(path, "w") as file:
            file.write(lines)
        name = f"{settings.folder}/notify"
        if os.path.exists(name):
            os.remove(name)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(name)
        manager.settimeout(30)
        null = os.open("/dev/null", os.O_RDWR)
        self.process = subprocess.Popen(
            [settings.portmap, "apply", "--watch", path], stdin=null, stdout=null, stderr=null,
            env=os.environ | {"NOTIFY_SOCKET": name},
        )  # fmt: skip
        os.close(null)
        if manager.recv(100) != b"READY=1":
            raise lab.Failed("apply --watch is not ready")

    def waits(self):
        """How often it, or anything that it has started, has been woken."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

    def end(self):
        self.process.terminate()
        if self.process.wait() != 0:
            raise lab.Failed("apply --watch does not end well")


def recovery(settings, results):
    machine = lab.Machine()
    machine.enter(machine.guest)
    server = lab.start(["python3", "-c", SERVER])
    machine.enter()
    lab.wait_for_port(lab.GUEST, 80)
    watcher = Watcher(settings, f"map 8080:80 --to {lab.GUEST}\n")
    for name, command in FLUSHES.items():
        lost = [lose(machine, name, command) for _ in range(20 if settings.full else 5)]
        for seconds in lost:
            metric = f"{name}: until a packet gets through again"
            results.add(metric, "portmap", seconds * 1000, "ms", aim=1000)
        results.note(f"{name}: {max(lost) * 1000:.0f} ms at worst")
    time.sleep(3)
    seconds = 60 if settings.full else 10
    before = watcher.waits()
    time.sleep(seconds)
    results.add(f"context switches in {seconds} s without a change", "portmap", watcher.waits() - before, "")
    results.add("memory of apply --watch (anonymous)", "portmap", lab.memory([watcher.process.pid])[0], "kB")
    watcher.end()
    lab.timed([settings.portmap, "unmap", "--all"])
    lab.stop([server])


def lose(machine, name, command):
    """Seconds from the beginning of a flush to the first packet that a rule leads to the guest again."""
    time.sleep(1.2)
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    machine.enter(machine.outside)
    while not reaches():
        if time.perf_counter() > begin + 20:
            raise lab.Failed(f"nothing comes through after {name}")
    seconds = time.perf_counter() - begin
    machine.enter()
    return seconds


def reaches():
    """Whether a rule leads to the guest, which then sees the client's own address."""
    with socket.socket() as client:
        client.settimeout(0.05)
        try:
            client.connect((lab.HOST, 8080))
            return client.recv(100).decode() == lab.OUTSIDE
        except OSError:
            return False


def thousand(settings, results):
    lab.Machine().enter()
    path = f"{settings.folder}/portmap.conf"
    for _ in range(settings.rounds):
        one = lab.timed([settings.portmap, "map", "30000:80", "--to", lab.GUEST])
        lab.timed([settings.portmap, "unmap", "--all"])
        with open(path, "w") as file:
            file.writelines(f"map {20000 + index}:80 --to {lab.GUEST}\n" for index in range(1000))
        first = lab.timed([settings.portmap, "apply", "-q", path])
        listed = lab.timed([settings.portmap, "list", "-q"])
        again = lab.timed([settings.portmap, "apply", "-q", path])
        metric = "apply of 1000 lines, beside mapping one"
        results.add(metric, "mapping one", one * 1000, "ms", reference="mapping one", aim=25)
        results.add(metric, "portmap", first * 1000, "ms")
        metric = "apply of the same 1000 lines, beside list"
        results.add(metric, "list", listed * 1000, "ms", reference="list", aim=3)
        results.add(metric, "portmap", again * 1000, "ms")
        lab.timed([settings.portmap, "unmap", "--all"])
