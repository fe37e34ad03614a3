"""Results: collected, compared within the run, printed, written as JSON and drawn."""

import json
import math
import os
import platform

import lab


class Results:
    def __init__(self):
        self.metrics = {}
        self.notes = []

    def add(self, metric, contender, value, unit, better="low", reference=None, aim=None):
        """One sample. `reference` is whom portmap is compared with, `aim` the ratio that it should reach."""
        entry = self.metrics.setdefault(
            metric, {"unit": unit, "better": better, "reference": reference, "aim": aim, "samples": {}}
        )
        entry["samples"].setdefault(contender, []).append(value)

    def note(self, text):
        self.notes.append(text)
        print(f"note: {text}", flush=True)

    def ratio(self, metric, contender="portmap"):
        entry = self.metrics[metric]
        samples = entry["samples"]
        if contender not in samples or entry["reference"] not in samples:
            return None
        base = lab.median(samples[entry["reference"]])
        return lab.median(samples[contender]) / base if base else None

    def reaches(self, metric):
        """Whether the aim is reached; nil where there is none or nothing to compare with."""
        entry = self.metrics[metric]
        value = self.ratio(metric) if entry["reference"] else None
        if entry["reference"] is None and "portmap" in entry["samples"]:
            value = lab.median(entry["samples"]["portmap"])
        if value is None or entry["aim"] is None:
            return None
        return value <= entry["aim"] if entry["better"] == "low" else value >= entry["aim"]

    def show(self):
        for metric, entry in self.metrics.items():
            values = "  ".join(
                f"{name} {number(lab.median(samples))}" for name, samples in entry["samples"].items()
            )
            line = f"{metric} [{entry['unit']}]: {values}"
            ratio = self.ratio(metric) if entry["reference"] else None
            if ratio is not None:
                line += f"  = {ratio:.2f} x {entry['reference']}"
            if entry["aim"] is not None:
                sign = "<=" if entry["better"] == "low" else ">="
                verdict = {True: "reached", False: "MISSED", None: "not compared"}[self.reaches(metric)]
                line += f"  (aim {sign} {entry['aim']}: {verdict})"
            print(line, flush=True)
        verdicts = [self.reaches(metric) for metric in self.metrics]
        print(f"aims: {verdicts.count(True)} reached, {verdicts.count(False)} missed")

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        document = {
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "processor": platform.machine()},
            "metrics": {
                metric: {
                    **{key: entry[key] for key in ("unit", "better", "reference", "aim")},
                    "medians": {name: lab.median(samples) for name, samples in entry["samples"].items()},
                    "samples": entry["samples"],
                    "ratio": self.ratio(metric) if entry["reference"] else None,
                    "reached": self.reaches(metric),
                }
                for metric, entry in self.metrics.items()
            },
            "notes": self.notes,
        }
        with open(f"{folder}/benchmarks.json", "w") as file:
            json.dump(document, file, indent=2, sort_keys=True)
            file.write("\n")
        with open(f"{folder}/benchmarks.svg", "w") as file:
            file.write(self.chart())

    def chart(self):
        """A bar for each metric that is compared: portmap as a multiple of its reference, better to the right."""
        rows = []
        for metric, entry in self.metrics.items():
            ratio = self.ratio(metric) if entry["reference"] else None
            if ratio:
                rows.append((metric, entry, 1 / ratio if entry["better"] == "low" else ratio))
        width, label, height, middle = 900, 380, 22, 620
        text = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height * (len(rows) + 2)}"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            '<text x="10" y="16" font-weight="bold">portmap against its peers (logarithmic; right: better)</text>',
        ]
        for index, (metric, entry, gain) in enumerate(rows):
            top = height * (index + 1) + 6
            length = max(-230, min(230, math.log2(gain) * 60))
            left = middle + min(0, length)
            colour = "#2a7f4f" if gain >= 1 else "#b5452c"
            end = middle + length + (6 if length >= 0 else -6)
            anchor = "start" if length >= 0 else "end"
            text += [
                f'<text x="{label}" y="{top + 12}" text-anchor="end">{metric}</text>',
                f'<rect x="{left:.1f}" y="{top}" width="{abs(length):.1f}" height="15" fill="{colour}"/>',
                f'<text x="{end:.1f}" y="{top + 12}" text-anchor="{anchor}">{gain:.2f} x {entry["reference"]}</text>',
            ]
        bottom = height * (len(rows) + 1) + 4
        text.append(f'<line x1="{middle}" x2="{middle}" y1="{height}" y2="{bottom}" stroke="black"/>')
        return "\n".join(text + ["</svg>", ""])


def number(value):
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
