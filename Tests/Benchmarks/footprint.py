"""What the background processes take of memory, against docker-proxy's."""

import json

import lab


def docker_proxy(settings, port, protocol="tcp"):
    return [
        settings.docker_proxy, "-proto", protocol, "-host-ip", "0.0.0.0", "-host-port", str(port),
        "-container-ip", lab.GUEST, "-container-port", "80",
    ]  # fmt: skip


def portmap_processes(settings, count):
    for index in range(count):
        lab.timed([settings.portmap, "map", f"{20000 + index}:80", "--to", lab.GUEST])
    mappings = json.loads(lab.answer([settings.portmap, "list", "--json"]))["mappings"]
    return sorted({mapping["pid"] for mapping in mappings})


def run(settings, results):
    for count, aim in ((1, None), (50, None), (100, 45)) if settings.full else ((1, None), (50, None)):
        if settings.docker_proxy:
            lab.Machine().enter()
            processes = [lab.start(docker_proxy(settings, 20000 + index), True) for index in range(count)]
            for index in range(count):
                lab.wait_for_port("127.0.0.1", 20000 + index)
            measure(results, "docker-proxy", count, [process.pid for process in processes], aim)
            lab.stop(processes)
        lab.Machine().enter()
        measure(results, "portmap", count, portmap_processes(settings, count), aim)
        lab.timed([settings.portmap, "unmap", "--all"])
    lab.Machine().enter()
    specs = [f"{20000 + index}:80" for index in range(1000)]
    took = lab.timed([settings.portmap, "map", "-q", "--to", lab.GUEST, *specs])
    results.add("map of 1000 ports by one call", "portmap", took * 1000, "ms")
    pids = {mapping["pid"] for mapping in json.loads(lab.answer([settings.portmap, "list", "--json"]))["mappings"]}
    results.add("memory of 1000 mappings by one call (PSS)", "portmap", lab.memory(pids)[1] / 1024, "MB", aim=16)
    lab.timed([settings.portmap, "unmap", "--all"])


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
