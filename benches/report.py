"""What the bench prints: tables of medians with their spread, the bars of the design, and a chart."""

import os
import platform
import statistics
from math import log10

MIB = {"memory"}
PLAIN = {"requests", "operations", "wake-ups", "replay ratio"}


class Report:
    def __init__(self, rounds):
        self.rounds, self.distributions, self.files, self.modules = rounds, 0, 0, 0
        self.values = {}

    def add(self, what, name, value):
        self.values.setdefault(what, {}).setdefault(name, []).append(value)

    def median(self, what, name):
        values = self.values.get(what, {}).get(name)
        return statistics.median(values) if values else None

    def write(self, folder):
        text = "\n".join([*self.head(), *self.bars(), *self.mount_table(), *self.other_tables()]) + "\n"
        (folder / "bench.md").write_text(text)
        (folder / "mount.svg").write_text(self.chart())
        print(text)

    def head(self):
        return [
            "# One run of `make bench`",
            "",
            f"{self.distributions} distributions with {self.files:,} files (`tests/corpora/data.txt`), medians of {self.rounds} rounds in which all",
            f"take turns, and in brackets the least and the most. {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
            f"CPython {platform.python_version()}. Times are milliseconds.",
            "",
        ]

    def bars(self):
        """What the design asks for, each met or not."""
        lines = ["## The bars", "", "| what | bar | measured | met |", "|---|---:|---:|---|"]
        fuse = self.median("mount", "fuse")
        uv = {name: self.median("uv", name) for name in self.values.get("uv", {})}
        if fuse and uv:
            fastest = min(uv, key=uv.get)
            ratio = uv[fastest] / fuse
            lines.append(self.bar(f"mount to ready, against uv's fastest mode (`{fastest}`)", "50 times faster", f"{ratio:.0f} times", ratio >= 50))
        made_up = self.median("scale", "366 of 10 files")
        if made_up:
            lines.append(self.bar("mount to ready, 366 distributions without data files", "8 ms", f"{made_up:.1f} ms", made_up <= 8))
        second = self.median("second mount", "fuse")
        if second:
            lines.append(self.bar("mount to ready, the second time", "4 ms", f"{second:.1f} ms", second <= 4))
        few, many = self.median("scale", "100 of 10 files"), self.median("scale", "100 of 1,000 files")
        if few and many:
            lines.append(self.bar("mount of 100 distributions, a hundred times the files", "the same (1.2)", f"{many / few:.2f}", many / few <= 1.2))
        for name in ["sitefs", "sitefs --entries mixed"]:
            ratio = self.median("replay ratio", name)
            if ratio:
                lines.append(self.bar(f"file-system share of a warm import against hard links, {name}", "1.10", f"{ratio:.2f}", ratio <= 1.10))
        for step, most in [("first import", 10_000), ("second import", 3), ("second find", 0), ("third find", 0)]:
            count = self.median("requests", f"sitefs: {step}")
            if count is not None:
                lines.append(self.bar(f"requests in a {step} ({self.modules:,} modules)" if "import" in step else f"requests in a {step}", f"{most:,}", f"{count:,.0f}", count <= most))
        memory = [value for values in self.values.get("memory", {}).values() for value in values]
        if memory:
            lines.append(self.bar("server memory, all walked", "50 MiB", f"{max(memory):.0f} MiB", max(memory) < 50))
        idle = [value for values in self.values.get("wake-ups", {}).values() for value in values]
        if idle:
            lines.append(self.bar("wake-ups of an idle server", "0", f"{max(idle)}", max(idle) == 0))
        return [*lines, ""]

    def bar(self, what, bar, measured, is_met):
        return f"| {what} | {bar} | {measured} | {'yes' if is_met else '**no**'} |"

    def mount_table(self):
        lines = ["## To a complete environment", "", "| mode | `sitefs mount` | `sitefs unmount` | `uv pip sync`, same mode | uv / sitefs |", "|---|---:|---:|---:|---:|"]
        for mode in self.values.get("mount", {}):
            ours, theirs = self.median("mount", mode), self.median("uv", mode)
            ratio = f"{theirs / ours:.1f}" if ours and theirs else ""
            cells = [self.cell("mount", mode), self.cell("unmount", mode), self.cell("uv", mode), ratio]
            lines.append(f"| `{mode}` | {' | '.join(cells)} |")
        only_uv = [mode for mode in self.values.get("uv", {}) if mode not in self.values.get("mount", {})]
        lines.extend(f"| `{mode}` | | | {self.cell('uv', mode)} | |" for mode in only_uv)
        return [*lines, ""]

    def other_tables(self):
        lines = []
        shown = {"mount", "unmount", "uv", "replay ratio"}
        for what, names in self.values.items():
            if what in shown:
                continue
            lines += [f"## {what[0].upper()}{what[1:]}", "", "| | median | |", "|---|---:|---:|"]
            for name in names:
                ratio = self.median("replay ratio", name) if what == "replay" else None
                lines.append(f"| {name} | {self.cell(what, name)} | {f'{ratio:.3f} of hard links' if ratio else ''} |")
            lines.append("")
        return lines

    def cell(self, what, name):
        values = self.values.get(what, {}).get(name)
        if not values:
            return ""
        digits = 0 if what in PLAIN or statistics.median(values) >= 1000 else 1
        middle = f"{statistics.median(values):,.{digits}f}{' MiB' if what in MIB else ''}"
        return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"

    def chart(self):
        """The times to a complete environment as bars, on a logarithmic scale."""
        rows = [(f"sitefs {mode}", self.median("mount", mode), True) for mode in self.values.get("mount", {}) if mode != "overlayfs"]
        rows += [(f"uv {mode}", self.median("uv", mode), False) for mode in self.values.get("uv", {})]
        rows = sorted((row for row in rows if row[1]), key=lambda row: row[1])
        left, width, height = 170, 470, 24
        scale = Scale(max(row[1] for row in rows) if rows else 10, width)
        bottom = 44 + len(rows) * height
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {bottom + 30}" font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="10" y="20" font-size="14">Milliseconds to a complete environment: {self.distributions} distributions, {self.files:,} files, warm</text>',
        ]
        for tick in scale.ticks():
            x = left + scale.at(tick)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="34" y2="{bottom}" stroke="#ddd"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#666">{tick:,}</text>')
        for number, (name, milliseconds, is_ours) in enumerate(rows):
            y, length = 40 + number * height, scale.at(milliseconds)
            colour = "#2a6f97" if is_ours else "#bbb"
            parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{height - 6}" fill="{colour}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 13}" fill="#333">{milliseconds:,.0f}</text>')
        return "\n".join([*parts, "</svg>"]) + "\n"


class Scale:
    """A logarithmic one, from 1 ms on."""

    def __init__(self, most, width):
        self.most, self.width = max(most, 10), width

    def at(self, value):
        return max(log10(max(value, 1)) / log10(self.most), 0) * self.width

    def ticks(self):
        return [10**power for power in range(0, 7) if 10**power <= self.most]
