"""portmap as CNI's plugin, beside the original: ADD and DEL, a hundred at once, the memory of a thousand pods."""

import json
import subprocess
import time

import commands
import lab

AIMS = {0: (0.4, 0.5), 1000: (0.12, 0.5), 5000: (0.05, 0.5)}
ROUNDS = {0: (9, 21), 1000: (3, 9), 5000: (2, 5)}


def plugin(settings):
    """portmap in the plugin's place; those that are there already are mapped by hand, at once."""

    class Portmap(commands.CNI):
        PLUGIN = lab.link(settings, "portmap")

        def __init__(self, settings, present):
            self.machine = lab.Machine()
            self.machine.enter()
            if present:
                specs = [f"{10000 + index}:80" for index in range(present)]
                lab.timed([settings.portmap, "map", "-q", "--to", lab.GUEST, *specs])

        def end(self):
            lab.timed([settings.portmap, "unmap", "--all"])

    return Portmap


def add_and_delete(settings, results):
    for present, rounds in ROUNDS.items():
        contenders = {}
        for name, kind in (("portmap", plugin(settings)), ("CNI portmap", commands.CNI)):
            contenders[name] = kind(settings, present)
            contenders[name].add(), contenders[name].delete()
        aims = AIMS[present]
        kind = {"unit": "ms", "reference": "CNI portmap"}
        for _ in range(rounds[settings.full]):
            for name, contender in contenders.items():
                contender.machine.enter()
                results.add(f"ADD, {present} there", name, contender.add() * 1000, aim=aims[0], **kind)
                results.add(f"DEL, {present} there", name, contender.delete() * 1000, aim=aims[1], **kind)
        for contender in contenders.values():
            contender.machine.enter()
            contender.end()


def hundred_at_once(settings, results):
    for name, kind in (("portmap", plugin(settings)), ("CNI portmap", commands.CNI)):
        contender = kind(settings, 0)
        for command in ("ADD", "DEL"):
            begin = time.perf_counter()
            running = []
            for index in range(100):
                text, environment = contender.input(command, f"pod{index}", 20000 + index)
                process = subprocess.Popen(
                    [contender.PLUGIN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
                )
                process.stdin.write(text.encode())
                process.stdin.close()
                running.append(process)
            failed = sum(process.wait() != 0 for process in running)
            took = time.perf_counter() - begin
            if failed:
                results.note(f"{name}: {failed} of 100 {command} at once failed")
            results.add(f"100 {command} at once", name, took * 1000, "ms", reference="CNI portmap")
        contender.end()


def pods(settings, results):
    """The processes of pods with one port each."""
    for count in (250, 1000) if settings.full else (250,):
        contender = plugin(settings)(settings, 0)
        for index in range(count):
            contender.call("ADD", f"pod{index}", 20000 + index)
        mappings = json.loads(lab.answer([settings.portmap, "list", "--json"]))["mappings"]
        anonymous, proportional = lab.memory({mapping["pid"] for mapping in mappings})
        aim = 100 if count == 250 else None
        results.add(f"memory of {count} pods (PSS)", "portmap", proportional / 1024, "MB", aim=aim)
        results.add(f"memory of {count} pods (anonymous)", "portmap", anonymous / 1024, "MB")
        contender.end()


def run(settings, results):
    add_and_delete(settings, results)
    hundred_at_once(settings, results)
    pods(settings, results)
