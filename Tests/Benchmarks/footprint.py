"""What the background processes take of memory, idle and with many clients, against docker-proxy's."""

import json
import socket
import time

import lab

# What serves at the guest's ports, as the load generator lays them out.
BACKEND = 9000
ECHO, DATAGRAMS = BACKEND + 2, BACKEND + 3


def docker_proxy(settings, port, protocol="tcp", backend=80, program=None):
    return [
        program or settings.docker_proxy, "-proto", protocol, "-host-ip", "0.0.0.0", "-host-port", str(port),
        "-container-ip", lab.GUEST, "-container-port", str(backend),
    ]  # fmt: skip


def portmap_processes(settings, count):
    for index in range(count):
        lab.timed([settings.portmap, "map", f"{20000 + index}:80", "--to", lab.GUEST])
    return background_processes(settings)


def background_processes(settings):
    mappings = json.loads(lab.answer([settings.portmap, "list", "--json"]))["mappings"]
    return sorted({mapping["pid"] for mapping in mappings})


def run(settings, results):
    for count, aim in ((1, None), (50, None), (100, 45)) if settings.full else ((1, None), (50, None)):
        programs = {"docker-proxy": settings.docker_proxy, "portmap as docker-proxy": lab.docker_proxy_link(settings)}
        for name, program in programs.items():
            if not program:
                continue
            lab.Machine().enter()
            words = [docker_proxy(settings, 20000 + index, program=program) for index in range(count)]
            processes = [lab.start(line, True) for line in words]
            for index in range(count):
                lab.wait_for_port("127.0.0.1", 20000 + index)
            measure(results, name, count, [process.pid for process in processes], aim)
            lab.stop(processes)
        lab.Machine().enter()
        measure(results, "portmap", count, portmap_processes(settings, count), aim)
        lab.timed([settings.portmap, "unmap", "--all"])
    lab.Machine().enter()
    specs = [f"{20000 + index}:80" for index in range(1000)]
    took = lab.timed([settings.portmap, "map", "-q", "--to", lab.GUEST, *specs])
    results.add("map of 1000 ports by one call", "portmap", took * 1000, "ms")
    pids = background_processes(settings)
    results.add("memory of 1000 mappings by one call (PSS)", "portmap", lab.memory(pids)[1] / 1024, "MB", aim=16)
    lab.timed([settings.portmap, "unmap", "--all"])
    with_clients(settings, results, "1000 idle connections", "tcp", ECHO, 32, idle_connections)
    with_clients(settings, results, "10000 udp clients", "udp", DATAGRAMS, 64, udp_clients)


def with_clients(settings, results, what, protocol, backend, aim, ask):
    """The memory of one process whose clients are `ask`'s, who answers with what must stay open meanwhile."""
    for name in ("portmap", "docker-proxy") if settings.docker_proxy else ("portmap",):
        machine = lab.Machine()
        machine.enter(machine.guest)
        processes = [lab.start([settings.load, "serve", str(BACKEND)])]
        machine.enter()
        lab.wait_for_port(lab.GUEST, ECHO)
        if name == "portmap":
            spec = f"127.0.0.1:20000:{backend}/{protocol}"
            lab.timed([settings.portmap, "map", "-q", "--to", lab.GUEST, spec])
            pids = background_processes(settings)
        else:
            processes.append(lab.start(docker_proxy(settings, 20000, protocol, backend), True))
            pids = [processes[-1].pid]
        try:
            clients = ask(("127.0.0.1", 20000))
            results.add(f"memory with {what} (PSS)", name, lab.memory(pids)[1] / 1024, "MB", aim=aim)
            for client in clients:
                client.close()
        except (OSError, lab.Failed) as failure:
            results.note(f"{name} with {what}: {failure}")
        lab.stop(processes)
        if name == "portmap":
            lab.timed([settings.portmap, "unmap", "--all"])


def idle_connections(frontend):
    """Connections that have all been used, and are used no more."""
    lab.wait_for_port(*frontend)
    clients = [socket.create_connection(frontend, timeout=5) for _ in range(1000)]
    for client in clients:
        exchange(client)
    return clients


def udp_clients(frontend):
    """As many sources as there are ports in a range; the proxy cannot know that none will speak again."""
    for port in range(30000, 40000):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", port))
            client.settimeout(0.2)
            client.connect(frontend)
            exchange(client)
    return []


def exchange(client, seconds=5):
    """There and back; again where a datagram was lost or nobody listens yet."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        try:
            client.send(bytes(64))
            if client.recv(64):
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
        except TimeoutError:
            pass
    raise lab.Failed("no answer")


def measure(results, name, count, pids, aim):
    anonymous, proportional = lab.memory(pids)
    if count == 1:
        results.add("memory of one mapping (anonymous)", name, anonymous, "kB", reference="docker-proxy", aim=1)
    # The aim for a hundred is in megabytes: 45 of docker-proxy's 73.
    ratio = None if aim is None else aim / 73
    results.add(
        f"memory of {count} made one by one (PSS)", name, proportional / 1024, "MB",
        reference="docker-proxy", aim=ratio,
    )  # fmt: skip
