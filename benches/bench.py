#!/usr/bin/env python3
"""Measures sitefs beside uv's link modes, the kernel's overlayfs and plain files: `make bench`.

All take turns in the same rounds on the same disk: read the ratios, not the milliseconds. Everything starts with an
environment whose interpreter has been asked before, and a cache that holds everything. Writes the tables (bench.md) and one
chart (mount.svg) into the folder given with --report. Dropping the kernel's caches, overlayfs and strace need root.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from environments import Tools, drop_kernel_caches, made_up_cache, overlay, say, site_packages
from record import record
from report import Report

HERE = Path(__file__).resolve().parent

SITEFS_MODES = ["fuse", "symlink", "symlink --fold", "hardlink", "clone", "copy"]
UV_MODES = ["hardlink", "symlink", "clone", "copy"]
LAYOUTS = ["uv hardlink", "uv symlink", "sitefs", "sitefs --entries mixed", "overlayfs"]

LARGE_SET = (
    "import numpy, pandas, scipy.stats, scipy.optimize, matplotlib.pyplot, sklearn.ensemble, sphinx.application,"
    " jupyterlab, PIL.Image, requests, rich, click, flask"
)

# So many distributions, with so many files each.
SCALES = [(10, 10), (10, 1000), (100, 10), (100, 1000), (366, 10), (1000, 10), (5000, 10)]
QUICK_SCALES = [(10, 10), (100, 10), (366, 10)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["uv", "sitefs", "requirements"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("target/bench"), help="where the caches and environments are")
    parser.add_argument("--report", type=Path, default=Path("target/bench"), help="where the tables and the chart go")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=15, help="begin no round of a slow case after so many")
    parser.add_argument("--quick", action="store_true", help="a few rounds of the fast cases: about two minutes")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(options.uv, options.sitefs, folder, folder / "cache")
    bench = Bench(tools, options.requirements.resolve(), 2 if options.quick else options.rounds, options.minutes)
    try:
        bench.all(options.quick)
    finally:
        for venv in (folder / "venvs").iterdir():
            tools.unmount(venv, check=False)
    options.report.mkdir(parents=True, exist_ok=True)
    bench.report.write(options.report)


class Bench:
    def __init__(self, tools, lock, rounds, minutes):
        self.tools, self.lock, self.rounds = tools, lock, rounds
        self.ends = time.monotonic() + minutes * 60
        self.report = Report(rounds)
        self.is_root = os.geteuid() == 0

    def all(self, quick):
        self.tools.fill_cache(self.lock)
        self.count()
        self.mounts()
        self.second_mount()
        if self.is_root:
            self.operations_on_the_cache()
        self.many_at_once()
        self.scale(QUICK_SCALES if quick else SCALES)
        with self.layouts() as layouts:
            self.programs(layouts)
            self.requests(layouts)
            self.replayed(layouts, 10 if quick else 40)
        self.server()
        if not quick:
            self.first_imports()
        if not quick and self.is_root:
            self.cold_mounts()

    def may_begin(self, what):
        """Whether there is time for one more round."""
        if time.monotonic() < self.ends:
            return True
        say(f"no time is left for more rounds of {what}")
        return False

    def count(self):
        venv = self.tools.venv("one")
        self.tools.mount(venv, self.lock)
        self.report.distributions = self.tools.details(venv)["distributions"]
        self.report.files = sum(len(files) for _, _, files in os.walk(site_packages(venv)))
        self.tools.unmount(venv)

    def mounts(self):
        """Every mode of sitefs, and uv in the same modes, each into a new environment."""
        modes = [mode for mode in SITEFS_MODES if mode != "clone" or self.tools.has_clones()]
        for number in range(self.rounds):
            if number > 1 and not self.may_begin("mounts"):
                break
            say(f"mounts, round {number + 1} of {self.rounds}")
            for mode in modes:
                venv = self.tools.venv("one")
                self.report.add("mount", mode, self.tools.mount(venv, self.lock, "--link-mode", *mode.split()))
                os.sync()
                self.report.add("unmount", mode, self.tools.unmount(venv))
            for mode in UV_MODES:
                venv = self.tools.venv("one")
                self.report.add("uv", mode, self.tools.timed(*self.tools.uv_words(venv, self.lock, mode)))
            self.report.add("start", "sitefs --version", self.tools.timed(self.tools.sitefs, "--version"))

    def second_mount(self):
        """The same lock on the same environment again: what can be remembered, is."""
        venv = self.tools.venv("one")
        for _ in range(self.rounds * 2):
            self.report.add("second mount", "fuse", self.tools.mount(venv, self.lock, "--link-mode", "fuse"))
            self.tools.unmount(venv)

    def operations_on_the_cache(self):
        """How often a mount asks the cache's file system for something: what a slow disk makes slow."""
        if not shutil.which("strace"):
            return
        venv = self.tools.venv("one")
        log = self.tools.folder / "strace"
        calls = "trace=%file,getdents64"
        # In the foreground, so that what strace waits for ends when it is unmounted.
        words = self.tools.mount_words(venv, self.lock, "--link-mode", "fuse", "-f")
        process = subprocess.Popen(["strace", "-f", "-y", "-s", "4096", "-e", calls, "-o", log, *words], env=self.tools.environment)
        while not os.path.ismount(site_packages(venv)):
            if process.poll() is not None:
                raise SystemExit(f"failed under strace: {words}")
            time.sleep(0.05)
        self.tools.unmount(venv)
        process.wait()
        lines = log.read_text(errors="replace").splitlines()
        count = sum(f"{self.tools.cache}/" in line for line in lines)
        self.report.add("operations", "on the cache, for one mount", count)
        log.unlink()

    def many_at_once(self):
        """Sixteen environments, mounted by sixteen processes at the same time."""
        for number in range(min(self.rounds, 3)):
            say(f"16 at once, round {number + 1}")
            venvs = [self.tools.venv(f"many{index}") for index in range(16)]
            words = [self.tools.mount_words(venv, self.lock, "--link-mode", "fuse") for venv in venvs]
            start = time.perf_counter()
            processes = [subprocess.Popen(list(map(str, word)), env=self.tools.environment) for word in words]
            if any([process.wait() for process in processes]):
                raise SystemExit("failed: 16 mounts at once")
            self.report.add("16 at once", "fuse", (time.perf_counter() - start) * 1000)
            for venv in venvs:
                self.tools.unmount(venv)
                shutil.rmtree(venv)

    def scale(self, scales):
        for distributions, files in scales:
            if not self.may_begin("scale"):
                return
            cache, lock = made_up_cache(self.tools.folder, distributions, files)
            tools = Tools(self.tools.uv, self.tools.sitefs, self.tools.folder, cache)
            venv = tools.venv("one")
            for _ in range(max(3, self.rounds)):
                name = f"{distributions:,} of {files:,} files"
                self.report.add("scale", name, tools.mount(venv, lock, "--link-mode", "fuse"))
                tools.unmount(venv)

    @contextlib.contextmanager
    def layouts(self):
        """The same distributions in every way at once: name to (python, site-packages)."""
        tools, layouts = self.tools, {}
        for mode in ["hardlink", "symlink"]:
            venv = tools.venv(f"uv-{mode}")
            tools.run(*tools.uv_words(venv, self.lock, mode))
            layouts[f"uv {mode}"] = venv
        for name, options in [("sitefs", []), ("sitefs --entries mixed", ["--entries", "mixed"])]:
            venv = tools.venv(name.replace(" ", "-"))
            tools.mount(venv, self.lock, "--link-mode", "fuse", *options)
            layouts[name] = venv
        with contextlib.ExitStack() as stack:
            if self.is_root:
                venv = tools.venv("overlayfs")
                took = stack.enter_context(overlay(self.archives(), site_packages(venv)))
                if took is not None:
                    self.report.add("mount", "overlayfs", took)
                    layouts["overlayfs"] = venv
            yield layouts
        for name in ["sitefs", "sitefs --entries mixed"]:
            tools.unmount(layouts[name])

    def archives(self):
        """The archives of the lock, lowest first: what `mount` wrote down of a mount."""
        venv = self.tools.venv("one")
        self.tools.mount(venv, self.lock, "--link-mode", "fuse")
        record = json.loads((venv / ".sitefs/mount.json").read_text())
        self.tools.unmount(venv)
        return [distribution["layers"][0] for distribution in record["distributions"]]

    def programs(self, layouts):
        """Whole programs, warm. No bytecode is written, so that each imports the same."""
        environment = {**self.tools.environment, "PYTHONDONTWRITEBYTECODE": "1"}

        def timed(*words):
            start = time.perf_counter()
            subprocess.run(list(map(str, words)), env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return (time.perf_counter() - start) * 1000

        for number in range(self.rounds + 1):
            say(f"programs, round {number} of {self.rounds}")
            for name, venv in layouts.items():
                python = venv / "bin/python"
                took = {
                    "python -c pass": timed(python, "-c", "pass"),
                    "find": timed("find", site_packages(venv)),
                    "uv pip list": timed(self.tools.uv, "pip", "list", "--python", python),
                    "import requests, jinja2": timed(python, "-c", "import requests, jinja2"),
                }
                # The first round warms all.
                for what, milliseconds in took.items() if number else ():
                    self.report.add(what, name, milliseconds)

    def requests(self, layouts):
        """What reaches the server, by its own count."""
        tools = self.tools
        environment = {**tools.environment, "PYTHONDONTWRITEBYTECODE": "1"}
        for name, options in [("sitefs", []), ("sitefs --entries mixed", ["--entries", "mixed"])]:
            venv = layouts[name]
            tools.unmount(venv)
            tools.mount(venv, self.lock, "--link-mode", "fuse", *options)
            python, folder = venv / "bin/python", site_packages(venv)
            importing = [python, "-c", LARGE_SET + "; import sys; print(len(sys.modules))"]
            steps = [("first import", importing), ("second import", importing), ("first find", ["find", folder]), ("second find", ["find", folder]), ("third find", ["find", folder])]
            before = sum(tools.requests(venv).values())
            for step, words in steps:
                printed = subprocess.run(list(map(str, words)), env=environment, check=True, capture_output=True, text=True).stdout
                if step == "first import":
                    self.report.modules = int(printed.split()[-1])
                after = sum(tools.requests(venv).values())
                self.report.add("requests", f"{name}: {step}", after - before)
                before = after

    def replayed(self, layouts, rounds):
        """The file system's share of a warm import: its calls recorded once, and replayed in all layouts in turn."""
        if not (shutil.which("strace") and shutil.which("cc")):
            say("strace or cc is missing: nothing is recorded and replayed")
            return
        say("recording and replaying an import")
        folder = self.tools.folder
        native = layouts["uv hardlink"]
        calls = record(str(native / "bin/python"), LARGE_SET, site_packages(native))
        (folder / "calls").write_text("".join(f"{call}\n" for call in calls))
        subprocess.run(["cc", "-O2", "-o", folder / "replay", HERE / "replay.c"], check=True)
        names = [name for name in LAYOUTS if name in layouts]
        bases = [site_packages(layouts[name]) for name in names]
        printed = subprocess.run([folder / "replay", folder / "calls", str(rounds), *bases], check=True, capture_output=True, text=True)
        for name, line in zip(names, printed.stdout.splitlines()):
            milliseconds, ratio = float(line.split(" ms, ")[0]), float(line.split(" ms, ")[1].split(" ")[0])
            self.report.add("replay", name, milliseconds)
            self.report.add("replay ratio", name, ratio)

    def server(self):
        """Memory when everything was looked at and again after a soak, and wake-ups when nothing happens."""
        cache, lock = made_up_cache(self.tools.folder, 366, 100 if self.rounds > 2 else 10)
        for name, tools, what in [
            (f"{self.report.distributions} real", self.tools, self.lock),
            ("366 made up", Tools(self.tools.uv, self.tools.sitefs, self.tools.folder, cache), lock),
        ]:
            venv = tools.venv("one")
            tools.mount(venv, what, "--link-mode", "fuse")
            server = Path("/proc") / str(tools.details(venv)["pid"])
            walk = ["find", site_packages(venv), "-newer", "/"]
            subprocess.run(walk, check=True, stdout=subprocess.DEVNULL)
            self.report.add("memory", f"{name}, all walked", resident(server))
            for _ in range(20):
                if self.is_root:
                    Path("/proc/sys/vm/drop_caches").write_text("2")
                subprocess.run(walk, check=True, stdout=subprocess.DEVNULL)
            self.report.add("memory", f"{name}, walked 20 times more", resident(server))
            before = switches(server)
            time.sleep(5)
            self.report.add("wake-ups", f"{name}, in 5 idle seconds", switches(server) - before)
            tools.unmount(venv)

    def first_imports(self):
        """The large set in a new environment that has no bytecode, which the import then writes."""
        for number in range(2):
            for name in ["uv hardlink", "sitefs"]:
                if not self.may_begin("first imports"):
                    return
                say(f"first import, round {number + 1} of 2, {name}")
                venv = self.tools.venv("one")
                if name == "sitefs":
                    self.tools.mount(venv, self.lock, "--link-mode", "fuse")
                else:
                    self.tools.run(*self.tools.uv_words(venv, self.lock, "hardlink"))
                python = venv / "bin/python"
                self.report.add("first import", name, self.tools.timed(python, "-c", LARGE_SET))
                self.report.add("warm import", name, self.tools.timed(python, "-c", LARGE_SET))
                self.tools.unmount(venv, check=False)

    def cold_mounts(self):
        """With the kernel's caches dropped: what a container sees that has just started."""
        for number in range(min(self.rounds, 3)):
            if not self.may_begin("mounts with dropped caches"):
                return
            say(f"dropped caches, round {number + 1}")
            venv = self.tools.venv("one")
            drop_kernel_caches()
            self.report.add("cold mount", "sitefs", self.tools.mount(venv, self.lock, "--link-mode", "fuse"))
            self.tools.unmount(venv)
            venv = self.tools.venv("one")
            drop_kernel_caches()
            words = self.tools.uv_words(venv, self.lock, "hardlink")
            self.report.add("cold mount", "uv hardlink", self.tools.timed(*words))


def resident(server):
    """MiB of memory that a process has."""
    line = next(line for line in (server / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def switches(server):
    """How often the threads of a process gave up the processor, having waited for something."""
    threads = [(task / "status").read_text() for task in (server / "task").iterdir()]
    lines = [line for text in threads for line in text.splitlines() if line.startswith("voluntary")]
    return sum(int(line.split()[1]) for line in lines)


if __name__ == "__main__":
    main()
