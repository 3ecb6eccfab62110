"""What the bench prints: the bars of the design, and tables of medians with their spread."""

import os
import platform
import statistics
import subprocess

from chart import chart

MIB = {"memory", "soak"}
COUNTS = {"requests", "requests of the first import", "operations on a slow disk", "operations on a slow disk, of sitefs", "wake-ups", "soak turns"}
# Shown in a table of their own.
APART = {"mount", "unmount", "uv", "overlayfs", "replay ratio"}

NOTES = {
    "compiling all": "197 distributions, with as many processes as there are cores.",
    "first import": "In a new environment, which may write bytecode.",
    "second import": "In the same environment again.",
    "find": "Of all of site-packages.",
    "memory": "Resident memory of the server. Before each walk the kernel has forgotten all entries, where this is root.",
    "scale": "Made-up distributions, mounted into new environments.",
    "scale, second mount": "The same, into the same environment again.",
    "a slow disk": "The cache behind a disk that answers each operation a millisecond late, many side by side.",
    "replay without bytecode": "The file-system calls of a warm import, replayed in all layouts in turn.",
    "replay with bytecode": "The same where there is bytecode: uv's own, of sitefs shared or its own, of overlayfs as one more layer.",
}


class Report:
    def __init__(self, rounds, folder, tools):
        self.rounds, self.folder, self.tools = rounds, folder, tools
        self.distributions, self.files, self.modules = 0, 0, 0
        self.values, self.failures = {}, {}
        self.load = os.getloadavg()[0]

    def add(self, what, name, value):
        self.values.setdefault(what, {}).setdefault(name, []).append(value)

    def median(self, what, name):
        values = self.values.get(what, {}).get(name)
        return statistics.median(values) if values else None

    def all(self, what):
        """Everything that was measured of something, under whatever name."""
        return [value for values in self.values.get(what, {}).values() for value in values]

    def write(self, folder):
        text = "\n".join([*self.head(), *self.bars(), *self.mount_table(), *self.other_tables()])
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
            f"{self.modules:,} modules. Medians of {self.rounds} rounds or more in which all take turns, in brackets the least and the most.",
            "Times are milliseconds.",
            "",
            f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {self.file_system()}, CPython {platform.python_version()}, "
            f"{self.tools.run(self.tools.uv, '--version').split('(')[0].strip()}. Load when it began: {self.load:.1f}.",
            "",
        ]
        if self.load > 0.5:
            lines += ["**Others used the machine: only the ratios mean something.**", ""]
        if self.failures:
            lines += ["## Failed", "", *(f"- {name}: {why}" for name, why in self.failures.items()), ""]
        return lines

    def file_system(self):
        words = ["stat", "-f", "-c", "%T", self.folder]
        name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        return {"ext2/ext3": "ext4"}.get(name, name)

    def bars(self):
        """What the design asks for, each met or by how much not."""
        lines = ["## The bars", "", "| what | bar | aim | measured | |", "|---|---:|---:|---:|---|"]
        for what, measured, bar, aim, unit, more_is_better in self.measured_bars():
            if measured is None:
                continue
            show = lambda number: "" if number is None else f"{number:,.{0 if unit == '' or number >= 100 else 2 if number < 10 else 1}f}{unit}"
            verdict = judge(measured, bar, aim, more_is_better)
            lines.append(f"| {what} | {show(bar)} | {show(aim)} | {show(measured)} | {verdict} |")
        return [*lines, ""]

    def measured_bars(self):
        """What, how much it is, the bar, the aim, the unit, and whether more is better."""
        fuse, uv = self.median("mount", "fuse"), {name: self.median("uv", name) for name in self.values.get("uv", {})}
        fastest = min(uv, key=uv.get, default=None)
        first, memory = "first import", self.all("memory")
        many, more = self.median("scale", "1,000 of 10 files"), self.median("scale", "5,000 of 10 files")
        few_files, many_files = self.median("scale", "100 of 10 files"), self.median("scale", "100 of 1,000 files")
        yield f"mount to ready, against uv's fastest mode ({fastest})", ratio(uv.get(fastest), fuse), 50, None, " times", True
        yield "the same with 366 made-up distributions", self.median("scale", "366 of 10 files"), None, 8, " ms", False
        yield "the second time", self.median("scale, second mount", "366 of 10 files"), None, 4, " ms", False
        yield f"the second time, {self.distributions} real distributions", self.median("second mount", f"{self.distributions} distributions"), None, 4, " ms", False
        yield "mount, 100 times the files", ratio(many_files, few_files), 1.2, 1, " times", False
        yield "mount, 5 times the distributions (1,000 to 5,000)", ratio(more, many), 6, 5, " times", False
        yield "mount on a slow disk, against uv's symbolic links", ratio(self.median("a slow disk", "uv symlink, cold"), self.median("a slow disk", "sitefs, cold")), 1, None, " times", True
        yield "operations of it on the slow disk, for each distribution", ratio(self.median("operations on a slow disk", "sitefs, cold"), self.distributions), None, None, "", False
        for name in ["sitefs, shared, with bytecode", "sitefs --entries mixed, shared, with bytecode", "sitefs, its own, with bytecode", "sitefs, without bytecode", "sitefs --entries mixed, without bytecode"]:
            yield f"file-system share of a warm import, against hard links: {name}", self.median("replay ratio", name), 1.10, 1.04, " times", False
        for name in ["sitefs", "sitefs, shared bytecode"]:
            yield f"requests in the first import ({self.modules:,} modules): {name}", self.median("requests", f"{name}: first import"), 10_000, 4_000, "", False
            yield f"requests in a second import: {name}", self.median("requests", f"{name}: second import"), 3, 0, "", False
            yield f"requests in a second find: {name}", self.median("requests", f"{name}: second find"), 0, 0, "", False
        yield "first import with shared bytecode, against none", ratio(self.median(first, "sitefs, no bytecode"), self.median(first, "sitefs, shared bytecode")), 2.5, 4, " times", True
        yield "first import with shared bytecode, against hard links with their own", ratio(self.median(first, "sitefs, shared bytecode"), self.median(first, "uv hardlink, its own bytecode")), 1.10, None, " times", False
        yield "server memory, 366 distributions, all walked", max(memory, default=None), 50, 25, " MiB", False
        yield "wake-ups of an idle server", max(self.all("wake-ups"), default=None), 0, None, "", False
        yield "server memory at the end of the soak, against its begin", ratio(self.median("soak", "at the end"), self.median("soak", "after 2 turns")), 1.1, 1, " times", False

    def mount_table(self):
        if not self.values.get("mount"):
            return []
        lines = ["## To a complete environment", "", "| mode | `sitefs mount` | `sitefs unmount` | `uv pip sync`, same mode | uv / sitefs |", "|---|---:|---:|---:|---:|"]
        for mode in dict.fromkeys([*self.values["mount"], *self.values.get("uv", {})]):
            faster = ratio(self.median("uv", mode), self.median("mount", mode))
            cells = [self.cell("mount", mode), self.cell("unmount", mode), self.cell("uv", mode), f"{faster:.1f}" if faster else ""]
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
            lines += [f"| | median | {'of hard links' if base else ''} |", "|---|---:|---:|"]
            for name in names:
                # A replay has a ratio for each round, which resolves more than the ratio of medians.
                share = self.median("replay ratio", f"{name}, {what.removeprefix('replay ')}") or ratio(self.median(what, name), base)
                lines.append(f"| {name} | {self.cell(what, name)} | {f'{share:.2f}' if share else ''} |")
            lines.append("")
        return lines

    def cell(self, what, name):
        values = self.values.get(what, {}).get(name)
        if not values:
            return ""
        digits = 0 if what in COUNTS or statistics.median(values) >= 1000 else 1
        middle = f"{statistics.median(values):,.{digits}f}{' MiB' if what in MIB else ''}"
        return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def ratio(one, other):
    return one / other if one is not None and other else None


def judge(measured, bar, aim, more_is_better):
    """Whether the bar is met, and the aim, or by how much not."""
    is_met = lambda limit: limit is not None and (measured >= limit if more_is_better else measured <= limit)
    limit = aim if bar is None else bar
    if limit is None:
        return ""
    if is_met(aim):
        return "aim met" if bar != aim else "met"
    if is_met(bar):
        return "met"
    if limit == 0:
        return f"**missed by {measured:,.0f}**"
    missed = limit / measured if more_is_better else measured / limit
    return f"**missed, by a factor of {missed:.2f}**" if missed < 10 else f"**missed, by a factor of {missed:.0f}**"
