"""A mapped port on 127.0.0.1 and ::1 beside the backend itself: the program on connect(2) leads there."""

import json

import lab
import proxies

GUEST6 = "fd00:99::2"
GATEWAY6 = "fd00:99::1"
# The loopback address, the backend, and the host's first port.
FAMILIES = [("127.0.0.1", lab.GUEST, 8000), ("::1", GUEST6, 8100)]
COUNT = len(proxies.TCP_PORTS)


class Way:
    def __init__(self, name, address, first, pid):
        self.name, self.address, self.first, self.pid = name, address, first, pid

    def measure(self, settings, what, offset, count):
        words = [settings.load, what, self.address, str(self.first + offset), str(settings.seconds), str(count)]
        return json.loads(lab.answer([*words, self.pid]))


def run(settings, results):
    machine = lab.Machine()
    lab.shell(
        f"ip -n {machine.host} address add {GATEWAY6}/64 dev g0 nodad;"
        f"ip -n {machine.guest} address add {GUEST6}/64 dev eth0 nodad"
    )
    machine.enter(machine.guest)
    server = lab.start([settings.load, "serve", str(proxies.BACKEND)])
    machine.enter()
    lab.wait_for_port(lab.GUEST, proxies.BACKEND + proxies.ECHO)
    try:
        for loopback, backend, first in FAMILIES:
            spec = f"{first}-{first + COUNT - 1}:{proxies.BACKEND}-{proxies.BACKEND + COUNT - 1}"
            mapping = json.loads(lab.answer([settings.portmap, "map", "--json", spec, "--to", backend]))[0]
            if not mapping["connect"]:
                raise lab.Failed("the program on connect(2) cannot be had here")
            ways = [
                Way("direct", backend, proxies.BACKEND, ""),
                Way("portmap", loopback, first, str(mapping["pid"])),
            ]
            for _ in range(settings.rounds):
                compare(settings, results, loopback, ways)
    finally:
        lab.shell(f"{settings.portmap} unmap --all >/dev/null")
        lab.stop([server])


def compare(settings, results, loopback, ways):
    for metric, what, port, count in proxies.STREAMS:
        for way in ways:
            found = way.measure(settings, what, port, count)
            results.add(f"{loopback}, {metric}", way.name, found["gbits"], "Gbit/s", "high", "direct", 0.95)
            if way.name == "portmap":
                results.add(f"{loopback}, {metric}: proxy's cpu", way.name, found["cpu_s_per_gb"], "s/GB", aim=0)
    # What comes of these differs by a tenth from one time to the next.
    for metric, what, port, count in proxies.REQUESTS * 4:
        for way in ways:
            found = way.measure(settings, what, port, count)
            results.add(f"{loopback}, {metric}", way.name, found["per_s"], "/s", "high", "direct", 0.95)
