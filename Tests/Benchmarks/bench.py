"""The benchmarks' entry: chooses sections, runs them, reports. Started by `run`."""

import argparse
import os
import time

import commands
import footprint
import lab
import lookup
import loopback
import plugin
import proxies
import report
import watching

SECTIONS = {
    "commands": commands.run,
    "memory": footprint.run,
    "plugin": plugin.run,
    "rules": lookup.run,
    "proxies": proxies.run,
    "loopback": loopback.run,
    "watch": watching.run,
}


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("portmap", help="the program")
    parser.add_argument("load", help="the load generator")
    parser.add_argument("folder", help="where the results go")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (all)")
    parser.add_argument("--full", action="store_true", help="more rounds, larger numbers: some ten minutes")
    parser.add_argument("--docker-proxy", help="where docker-proxy was unpacked")
    settings = parser.parse_intermixed_args()
    for name in settings.sections:
        if name not in SECTIONS:
            parser.error(f"no section '{name}': there are {', '.join(SECTIONS)}")
    for name in ("portmap", "load", "folder", "docker_proxy"):
        path = getattr(settings, name)
        setattr(settings, name, os.path.abspath(path) if path else None)
    if settings.docker_proxy and not os.path.exists(settings.docker_proxy):
        settings.docker_proxy = None
    settings.seconds = 2 if settings.full else 0.25
    settings.rounds = 5 if settings.full else 3
    for name in ("PORTMAP_TO", "PORTMAP_RANGE", "PORTMAP_BRIDGE", "PORTMAP_STATE_DIR", "PORTMAP_CONNECT"):
        os.environ.pop(name, None)

    lab.prepare()
    results = report.Results()
    for name, section in SECTIONS.items():
        if settings.sections and name not in settings.sections:
            continue
        begin = time.time()
        try:
            section(settings, results)
        except lab.Failed as failure:
            results.note(f"{name} ended early: {failure}")
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)
    results.show()
    results.write(settings.folder)
    print(f"written: {settings.folder}/benchmarks.json and benchmarks.svg")


main()
