"""What the commands take: map and unmap against iptables and CNI's portmap, ranges, list, alloc, start-up."""

import json
import os

import lab

ROUNDS = {0: (9, 21), 1000: (3, 9), 5000: (2, 5)}


class Portmap:
    """portmap, whole, with its proxy."""

    def __init__(self, settings, present):
        self.program = settings.portmap
        self.machine = lab.Machine()
        self.machine.enter()
        if present:
            specs = [f"{10000 + index}:80" for index in range(present)]
            self.filling = lab.timed([self.program, "map", "-q", "--to", lab.GUEST, *specs])

    def add(self):
        return lab.timed([self.program, "map", "8080:80", "--to", lab.GUEST])

    def delete(self):
        return lab.timed([self.program, "unmap", "8080"])

    def end(self):
        lab.timed([self.program, "unmap", "--all"])


class Iptables:
    """One bare rule: what no tool can be faster than that runs iptables."""

    RULE = ["PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", f"{lab.GUEST}:80"]

    def __init__(self, settings, present):
        self.machine = lab.Machine()
        self.machine.enter()
        rules = "".join(
            f"-A PREROUTING -p tcp --dport {10000 + index} -j DNAT --to-destination {lab.GUEST}:80\n"
            for index in range(present)
        )
        lab.timed(["iptables-restore", "--noflush"], f"*nat\n{rules}COMMIT\n")

    def add(self):
        return lab.timed(["iptables", "-t", "nat", "-A", *self.RULE])

    def delete(self):
        return lab.timed(["iptables", "-t", "nat", "-D", *self.RULE])

    def end(self):
        pass


class CNI:
    """CNI's portmap plugin; those that are there already stand as the plugin would have left them."""

    PLUGIN = "/usr/lib/cni/portmap"

    def __init__(self, settings, present):
        self.machine = lab.Machine()
        self.machine.enter()
        if not present:
            return
        self.add()
        one = [
            line
            for line in lab.answer(["iptables-save", "-t", "nat"]).splitlines()
            if "CNI-DN-" in line and not line.startswith("#")
        ]
        self.delete()
        chain = next(word for word in " ".join(one).split() if word.startswith(":CNI-DN-"))[1:]
        lines = ["*nat"]
        for index in range(present):
            name = f"{chain[:-8]}{index:08x}"
            for line in one:
                lines.append(line.replace(chain, name).replace("8080", str(10000 + index)))
        self.add()  # The chains that all share.
        lab.timed(["iptables-restore", "--noflush"], "\n".join([*lines, "COMMIT", ""]))
        self.delete()

    def call(self, command, container="bench", port=8080):
        return lab.timed([self.PLUGIN], *self.input(command, container, port))

    def input(self, command, container, port):
        """What the plugin finds: its configuration and its environment."""
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{self.machine.guest}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": os.path.dirname(self.PLUGIN),
        }
        configuration = {
            "cniVersion": "0.4.0",
            "name": "bench",
            "type": "portmap",
            "capabilities": {"portMappings": True},
            "runtimeConfig": {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]},
            "prevResult": {
                "cniVersion": "0.4.0",
                "interfaces": [{"name": "eth0", "sandbox": f"/run/netns/{self.machine.guest}"}],
                "ips": [{"version": "4", "interface": 0, "address": f"{lab.GUEST}/24"}],
            },
        }
        return json.dumps(configuration), environment

    def add(self):
        return self.call("ADD")

    def delete(self):
        return self.call("DEL")

    def end(self):
        pass


# A contender is a line here.
CONTENDERS = {"portmap": Portmap, "iptables": Iptables, "CNI portmap": CNI}
AIMS = {0: (0.4, 0.5), 1000: (0.12, 0.5), 5000: (0.04, 0.4)}


def map_and_unmap(settings, results):
    for present, rounds in ROUNDS.items():
        contenders = {}
        for name, kind in CONTENDERS.items():
            try:
                contenders[name] = kind(settings, present)
                contenders[name].add(), contenders[name].delete()  # Modules are loaded, caches warm.
            except lab.Failed as failure:
                results.note(f"{name} with {present} mappings: {failure}")
                contenders.pop(name, None)
        for _ in range(rounds[settings.full]):
            for name, contender in contenders.items():
                contender.machine.enter()
                aims = AIMS[present]
                kind = {"unit": "ms", "reference": "CNI portmap"}
                results.add(f"map, {present} there", name, contender.add() * 1000, aim=aims[0], **kind)
                results.add(f"unmap, {present} there", name, contender.delete() * 1000, aim=aims[1], **kind)
        for verb, aim in (("map", 8), ("unmap", 4)) if present == 0 else ():
            samples = results.metrics[f"{verb}, 0 there"]["samples"]
            for name in ("portmap", "iptables"):
                for sample in samples.get(name, []):
                    results.add(f"{verb} against one bare rule", name, sample, "ms", "low", "iptables", aim)
        portmap = contenders.get("portmap")
        if portmap and present:
            results.add(f"map of {present} ports by one call", "portmap", portmap.filling * 1000, "ms")
            portmap.machine.enter()
            if present == 5000:
                for _ in range(5):
                    plain = lab.timed([settings.portmap, "list"]) * 1000
                    results.add("list with 5000 mappings", "portmap", plain, "ms", aim=60)
                    counted = lab.timed([settings.portmap, "list", "--stats"]) * 1000
                    metric = ("list --stats with 5000 mappings", "ms", "low", "plain list", 2.5)
                    results.add(metric[0], "plain list", plain, *metric[1:])
                    results.add(metric[0], "portmap", counted, *metric[1:])
        for contender in contenders.values():
            contender.machine.enter()
            contender.end()


def ranges_and_alloc(settings, results):
    lab.Machine().enter()
    program = settings.portmap
    ports = "20000-29999"
    for _ in range(5 if settings.full else 2):
        took = lab.timed([program, "map", f"{ports}:{ports}", "--to", lab.GUEST])
        results.add("map of a range of 10000", "portmap", took * 1000, "ms", aim=500)
        holder = json.loads(lab.answer([program, "list", "--json"]))["mappings"][0]["pid"]
        results.add("memory of a range of 10000 (PSS)", "portmap", lab.memory([holder])[1] / 1024, "MB", aim=64)
        took = lab.timed([program, "unmap", ports])
        results.add("unmap of a range of 10000", "portmap", took * 1000, "ms", aim=250)
        took = lab.timed([program, "alloc", "-c", "1000"])
        results.add("alloc -c 1000", "portmap", took * 1000, "ms", aim=150)
        lab.timed([program, "unmap", "--all"])
    for _ in range(20):
        results.add("start (--version)", "portmap", lab.timed([program, "--version"]) * 1000, "ms", aim=4)
        results.add("start (--version)", "/bin/true", lab.timed(["/bin/true"]) * 1000, "ms")


def run(settings, results):
    map_and_unmap(settings, results)
    ranges_and_alloc(settings, results)
