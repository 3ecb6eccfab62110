"""What the bench prints: the bars of the design, and tables of medians with their spread."""

import os
import platform
import statistics
import subprocess
import time
from collections import Counter

from bars import Bars, ratio
from chart import chart

MIB = {"memory", "soak"}
COUNTS = {
    "requests",
    "operations on a slow disk",
    "wake-ups",
    "soak turns",
}
# Shown in a table of their own.
APART = {"mount", "unmount", "uv", "overlayfs", "replay ratio"}

NOTES = {
    "compiling all": "197 distributions, with as many processes as there are cores.",
    "first import": "In a new environment, which may write bytecode.",
    "second import": "In the same environment again.",
    "find": "Of all of site-packages.",
    "requests": "What the kernel asked the server. `find` itself asks for the file system once, which no kernel remembers (statfs).",
    "memory": "Resident memory of the server. Before each walk the kernel has forgotten all entries, where this is root.",
    "scale": "Made-up distributions, mounted into new environments.",
    "scale, second mount": "The same, into the same environment again.",
    "a slow disk": "The cache behind a disk that answers each operation a millisecond late, many side by side.",
    "replay without bytecode": "The file-system calls of a warm import, replayed in all layouts in turn.",
    "replay with bytecode": "The same where there is bytecode: uv's own, of sitefs shared or its own, of overlayfs as one more layer.",
}


def busy():
    """The share of the processors' time that others use, in one second. The load of a minute has what was built just before."""

    def times():
        with open("/proc/stat") as file:
            fields = list(map(int, file.readline().split()[1:9]))
        return sum(fields), fields[3] + fields[4]

    all_before, idle_before = times()
    time.sleep(1)
    all_after, idle_after = times()
    return 1 - (idle_after - idle_before) / (all_after - all_before)


class Report:
    def __init__(self, rounds, folder, tools):
        self.rounds, self.folder, self.tools = rounds, folder, tools
        self.distributions, self.files, self.modules = 0, 0, 0
        self.values, self.counts, self.failures = {}, {}, {}
        self.busy = busy()

    def add(self, what, name, value):
        self.values.setdefault(what, {}).setdefault(name, []).append(value)

    def add_counts(self, what, name, counts):
        """Their sum, and beside it which they are."""
        self.add(what, name, counts.total())
        self.counts[what, name] = counts

    def median(self, what, name):
        values = self.values.get(what, {}).get(name)
        return statistics.median(values) if values else None

    def all(self, what):
        """Everything that was measured of something, under whatever name."""
        return [value for values in self.values.get(what, {}).values() for value in values]

    def write(self, folder):
        text = "\n".join([*self.head(), *Bars(self).lines(), *self.mount_table(), *self.other_tables()])
        (folder / "bench.md").write_text(text)
        bars = [(f"sitefs {mode}", self.median("mount", mode), mode == "fuse") for mode in self.values.get("mount", {})]
        bars += [(f"uv {mode}", self.median("uv", mode), False) for mode in self.values.get("uv", {})]
        if self.values.get("mount") and self.values.get("uv"):
            title = f"To a complete environment: {self.distributions} distributions, {self.files:,} files"
            (folder / "mount.svg").write_text(chart(title, f"milliseconds, warm, on {self.file_system()}", bars))
        print(text)

    def head(self):
        lines = [
            "# One run of `make bench`",
            "",
            f"{self.distributions} distributions with {self.files:,} files (`tests/corpora/data.txt`); imports and programs of 197 (that and `cloud.txt`),",
            f"{self.modules:,} modules. Medians of at least {self.rounds} rounds in which all take turns, in brackets the least and the most.",
            "Times are milliseconds.",
            "",
            f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {self.file_system()}, CPython {platform.python_version()}, "
            f"{self.tools.run(self.tools.uv, '--version').split('(')[0].strip()}. Others used {self.busy:.0%} of them when it began.",
            "",
        ]
        if self.busy > 0.1:
            lines += ["**Others used the machine: only the ratios mean something.**", ""]
        if self.failures:
            lines += ["## Failed", "", *(f"- {name}: {why}" for name, why in self.failures.items()), ""]
        return lines

    def file_system(self):
        words = ["stat", "-f", "-c", "%T", self.folder]
        name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        return {"ext2/ext3": "ext4"}.get(name, name)

    def mount_table(self):
        if not self.values.get("mount"):
            return []
        lines = [
            "## To a complete environment",
            "",
            "| mode | `sitefs mount` | `sitefs unmount` | `uv pip sync`, same mode | uv / sitefs |",
            "|---|---:|---:|---:|---:|",
        ]
        for mode in dict.fromkeys([*self.values["mount"], *self.values.get("uv", {})]):
            faster = ratio(self.median("uv", mode), self.median("mount", mode))
            cells = [
                self.cell("mount", mode),
                self.cell("unmount", mode),
                self.cell("uv", mode),
                f"{faster:.1f}" if faster else "",
            ]
            lines.append(f"| {mode} | {' | '.join(cells)} |")
        for name in self.values.get("overlayfs", {}):
            lines.append(f"| overlayfs, {name} | {self.cell('overlayfs', name)} | | | |")
        return [*lines, ""]

    def other_tables(self):
        lines = []
        for what, names in self.values.items():
            if what in APART:
                continue
            lines += [f"## {what[0].upper()}{what[1:]}", "", *([NOTES[what], ""] if what in NOTES else [])]
            base = self.median(what, "uv hardlink")
            lines += [f"| | median | {'of hard links' if base else ''} |", "|---|---:|---|"]
            for name in names:
                # A replay has a ratio for each round, which resolves more than the ratio of medians.
                share = self.median("replay ratio", f"{name}, {what.removeprefix('replay ')}") or ratio(
                    self.median(what, name), base
                )
                counts = self.counts.get((what, name), Counter()).most_common()
                each = ", ".join(f"{count:,} {operation}" for operation, count in counts if count)
                note = f"{share:.2f}" if share else each
                lines.append(f"| {name} | {self.cell(what, name)} | {note} |")
            lines.append("")
        return lines

    def cell(self, what, name):
        values = self.values.get(what, {}).get(name)
        if not values:
            return ""
        digits = 0 if what in COUNTS or statistics.median(values) >= 1000 else 1
        middle = f"{statistics.median(values):,.{digits}f}{' MiB' if what in MIB else ''}"
        return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"
