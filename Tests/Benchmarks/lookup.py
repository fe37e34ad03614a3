"""New connections through the rules: with one mapping, and with thousands of them."""

import json

import lab

PORT = 9000


class Rules:
    def __init__(self, settings, count):
        self.machine = lab.Machine()
        self.machine.enter(self.machine.guest)
        self.server = lab.start([settings.load, "serve", str(PORT)])
        self.machine.enter()
        self.program = settings.portmap
        lab.wait_for_port(lab.GUEST, PORT + 2)
        # The last of them is the one that is asked; all are single mappings, each with a rule of its own.
        ports = [*range(20000, 20000 + count - 1), 60000]
        for start in range(0, count, 4000):
            specs = [f"{port}:{PORT + 2}" for port in ports[start : start + 4000]]
            lab.timed([self.program, "map", "-q", "--no-proxy", "--to", lab.GUEST, *specs])
        # The rules are measured, not the table of connections, which would hold each of them for two minutes.
        lab.shell("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=1")

    def measure(self, settings):
        self.machine.enter(self.machine.outside)
        words = [settings.load, "connect", lab.HOST, "60000", str(settings.seconds), "32", str(self.server.pid)]
        return json.loads(lab.answer(words))["per_s"]

    def end(self):
        lab.stop([self.server])
        self.machine.enter()
        lab.timed([self.program, "unmap", "--all"])


def run(settings, results):
    many = 10000 if settings.full else 2000
    contenders = {"portmap": Rules(settings, many), "one mapping": Rules(settings, 1)}
    for _ in range(settings.rounds):
        for name, rules in contenders.items():
            metric = f"connections/s through the rules, {many} mappings"
            results.add(metric, name, rules.measure(settings), "/s", "high", "one mapping", 0.8)
    for rules in contenders.values():
        rules.end()
