"""Traffic through the userland proxy, against other proxies; the load generator is in C."""

import json
import os
import statistics

import lab

BACKEND = 9000
FRONTEND = 8000
# What serves at the backend, by its distance from the first port.
SINK, SOURCE, ECHO, DATAGRAMS = range(4)
TCP_PORTS = (SINK, SOURCE, ECHO)


def direct(settings, folder, machine):
    return []


def portmap(settings, folder, machine):
    pairs = [f"127.0.0.1:{FRONTEND + offset}" for offset in TCP_PORTS] + [f"127.0.0.1:{FRONTEND + DATAGRAMS}/udp"]
    backends = [f"{lab.GUEST}:{BACKEND + offset}" for offset in (*TCP_PORTS, DATAGRAMS)]
    return [lab.start([settings.portmap, "proxy", *(word for pair in zip(pairs, backends) for word in pair)])]


def portmap_into(settings, folder, machine):
    pairs = [f"127.0.0.1:{FRONTEND + offset}" for offset in TCP_PORTS] + [f"127.0.0.1:{FRONTEND + DATAGRAMS}/udp"]
    backends = [f"127.0.0.1:{BACKEND + offset}" for offset in (*TCP_PORTS, DATAGRAMS)]
    words = [word for pair in zip(pairs, backends) for word in pair]
    return [lab.start([settings.portmap, "proxy", "--into", machine.guest, *words])]


def docker_proxy(settings, folder, machine):
    if not settings.docker_proxy:
        raise lab.Failed("docker-proxy is not there")
    return started_by_dockerd(settings.docker_proxy)


def portmap_as_docker_proxy(settings, folder, machine):
    return started_by_dockerd(lab.docker_proxy_link(settings))


def started_by_dockerd(program):
    words = lambda offset, protocol: [
        program, "-proto", protocol, "-host-ip", "127.0.0.1", "-host-port", str(FRONTEND + offset),
        "-container-ip", lab.GUEST, "-container-port", str(BACKEND + offset),
    ]  # fmt: skip
    processes = [lab.start(words(offset, "tcp"), True) for offset in TCP_PORTS]
    return [*processes, lab.start(words(DATAGRAMS, "udp"), True)]


def haproxy(settings, folder, machine):
    sections = "".join(
        f"listen l{offset}\n  bind 127.0.0.1:{FRONTEND + offset}\n  server s {lab.GUEST}:{BACKEND + offset}\n"
        for offset in TCP_PORTS
    )
    path = f"{folder}/haproxy.cfg"
    with open(path, "w") as file:
        file.write(
            "global\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n"
            f"  timeout server 60s\n{sections}"
        )
    return [lab.start(["haproxy", "-db", "-f", path])]


def nginx(settings, folder, machine):
    servers = "".join(
        f"server {{ listen 127.0.0.1:{FRONTEND + offset}{kind}; proxy_pass {lab.GUEST}:{BACKEND + offset}; }}\n"
        for offset, kind in [*((offset, "") for offset in TCP_PORTS), (DATAGRAMS, " udp")]
    )
    path = f"{folder}/nginx.conf"
    with open(path, "w") as file:
        file.write(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; user root; error_log /dev/null;\n"
            f"pid {folder}/nginx.pid; worker_processes 1; worker_rlimit_nofile 8192;\n"
            f"events {{ worker_connections 4096; }}\nstream {{\n{servers}}}\n"
        )
    return [lab.start(["nginx", "-p", folder, "-c", path])]


def socat(settings, folder, machine):
    return [
        lab.start([
            "socat", f"TCP-LISTEN:{FRONTEND + offset},bind=127.0.0.1,fork,reuseaddr,backlog=4096",
            f"TCP:{lab.GUEST}:{BACKEND + offset}",
        ])
        for offset in TCP_PORTS
    ]  # fmt: skip


def pasta(settings, folder, machine):
    # It wants a way out, and enters the guest's namespace by itself, where it connects over loopback.
    lab.shell(f"ip route add default via {lab.OUTSIDE}")
    ports = [f"127.0.0.1/{FRONTEND + offset}:{BACKEND + offset}" for offset in (*TCP_PORTS, DATAGRAMS)]
    forwards = [word for port in ports[:-1] for word in ("-t", port)] + ["-u", ports[-1], "-T", "none", "-U", "none"]
    place = ["--netns", f"/run/netns/{machine.guest}", "-i", "eth0", "--ns-ifname", "tap0"]
    return [lab.start(["pasta", "-f", "--runas", "0:0", *forwards, *place])]


INTO = "portmap --into"

# A contender is a line here: who starts it, and whether it takes datagrams too.
CONTENDERS = {
    "direct": (direct, True),
    "docker-proxy": (docker_proxy, True),
    "portmap": (portmap, True),
    INTO: (portmap_into, True),
    "portmap as docker-proxy": (portmap_as_docker_proxy, True),
    "haproxy": (haproxy, False),
    "nginx": (nginx, True),
    "pasta": (pasta, True),
    "socat": (socat, False),
}

# Name, what the generator does, the port, how many, and for datagrams size and rate (0: closed loop, -1: flood).
STREAMS = [
    ("up, 1 stream", "up", SINK, 1),
    ("down, 1 stream", "down", SOURCE, 1),
    ("up, 8 streams", "up", SINK, 8),
    ("down, 8 streams", "down", SOURCE, 8),
]
REQUESTS = [("connections, 32 at once", "connect", ECHO, 32), ("64 B exchanges, 32", "exchange", ECHO, 32)]
PACKETS = [
    ("udp 64 B, 1 client", 1, 64, 0, 0.45),
    ("udp 1400 B, 1 client", 1, 1400, 0, None),
    ("udp 64 B, 100 clients", 100, 64, 0, 0.5),
    ("udp 1400 B, 100 clients", 100, 1400, 0, None),
    ("udp flood", 1, 64, -1, 0.3),
    ("udp 64 B at 30,000/s, 1 client", 1, 64, 30000, 0.45),
    ("udp 64 B at 30,000/s, 100 clients", 100, 64, 30000, 0.5),
]


class Contender:
    def __init__(self, name, settings, folder):
        launch, self.takes_datagrams = CONTENDERS[name]
        self.name = name
        self.machine = lab.Machine()
        self.machine.enter(self.machine.guest)
        self.server = lab.start([settings.load, "serve", str(BACKEND)])
        self.machine.enter()
        os.makedirs(folder, exist_ok=True)
        self.settings = settings
        self.address, self.first = (lab.GUEST, BACKEND) if name == "direct" else ("127.0.0.1", FRONTEND)
        lab.wait_for_port(lab.GUEST, BACKEND + ECHO)
        self.processes = launch(settings, folder, self.machine)
        try:
            for offset in TCP_PORTS:
                lab.wait_for_port(self.address, self.first + offset)
        except lab.Failed:
            self.end()
            raise

    def measure(self, what, offset, count, *more):
        self.machine.enter()
        pids = [str(process.pid) for process in self.processes]
        words = [self.settings.load, what, self.address, str(self.first + offset), str(self.settings.seconds)]
        return json.loads(lab.answer([*words, str(count), ",".join(pids), *map(str, more)]))

    def end(self):
        lab.stop([*self.processes, self.server])


def run(settings, results):
    contenders = []
    for name in CONTENDERS:
        try:
            contenders.append(Contender(name, settings, f"{settings.folder}/{name}"))
        except (lab.Failed, FileNotFoundError) as failure:
            results.note(f"{name}: {failure}")
    for _ in range(settings.rounds):
        speeds, costs = {}, {}
        for metric, what, port, count in STREAMS:
            for contender in contenders:
                found = attempt(results, contender, what, port, count)
                if not found:
                    continue
                name = contender.name
                results.add(f"tcp {metric}", name, found["gbits"], "Gbit/s", "high", "docker-proxy", 0.95)
                speeds.setdefault(name, []).append(found["gbits"])
                if name != "direct":
                    results.add(f"cpu, tcp {metric}", name, found["cpu_s_per_gb"], "s/GB", "low", "docker-proxy")
                    costs.setdefault(name, []).append(found["cpu_s_per_gb"])
        for name, values in speeds.items():
            mean = statistics.geometric_mean(values)
            results.add("tcp streams, geometric mean", name, mean, "Gbit/s", "high", "docker-proxy", 1.25)
            compare_into(results, "tcp streams, geometric mean", name, mean, "Gbit/s", 1.4)
        for name, values in costs.items():
            mean = statistics.geometric_mean(values)
            results.add("cpu, tcp streams, geometric mean", name, mean, "s/GB", "low", "docker-proxy", 0.65)
        for metric, what, port, count in REQUESTS:
            aim = 1.45 if what == "connect" else 1.35
            for contender in contenders:
                found = attempt(results, contender, what, port, count)
                if not found:
                    continue
                results.add(f"tcp {metric}", contender.name, found["per_s"], "/s", "high", "docker-proxy", aim)
                if what == "connect":
                    compare_into(results, f"tcp {metric}", contender.name, found["per_s"], "/s", 1.5)
                    results.add(f"tcp {metric}: p99", contender.name, found["p99_ms"], "ms", "low", "docker-proxy", 1)
        for metric, count, size, rate, aim in PACKETS:
            for contender in contenders:
                if not contender.takes_datagrams:
                    continue
                found = attempt(results, contender, "udp", DATAGRAMS, count, size, rate)
                if not found:
                    continue
                name = contender.name
                if rate <= 0:
                    least = 2.2 if rate < 0 else None
                    results.add(metric, name, found["answers_per_s"], "/s", "high", "docker-proxy", least)
                if name != "direct":
                    results.add(f"cpu, {metric}", name, found["cpu_us"], "us", "low", "docker-proxy", aim)
                if rate > 0:
                    lost = max(0, 1 - found["answers_per_s"] / found["sent_per_s"])
                    results.add(f"lost, {metric}", name, lost * 100, "%")
    for contender in contenders:
        contender.end()


def compare_into(results, metric, name, value, unit, aim):
    """The way into a namespace has rows of its own, beside docker's proxy and beside the other that goes there."""
    contender = "portmap" if name == INTO else name
    if name in (INTO, "docker-proxy"):
        results.add(f"into a namespace, {metric}", contender, value, unit, "high", "docker-proxy", aim)
    if name in (INTO, "pasta"):
        results.add(f"into a namespace, {metric}, beside pasta", contender, value, unit, "high", "pasta", 1)


def attempt(results, contender, *job):
    try:
        return contender.measure(*job)
    except lab.Failed as failure:
        results.note(f"{contender.name}, {job}: {failure}")
        return None
