#!/usr/bin/env python3
"""Times `sitefs mount` to ready, and `unmount`, against `uv pip sync` in each of its link modes.

All take turns in the same rounds on the same disk, warm: read the ratios, not the seconds. Each starts with an empty
environment whose interpreter has been asked before, and a cache that holds everything. Prints a Markdown table of medians.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

LINK_MODES = ["hardlink", "symlink", "clone", "copy"]


def main():
    options = parse_arguments()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.uv, options.sitefs, options.requirements.resolve(), folder)
    bench.fill_cache()
    times = {name: [] for name in bench.subjects}
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for name, subject in bench.subjects.items():
            times[name].append(subject())
    print_table(times, bench.count_distributions(), options.rounds)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", type=Path, required=True)
    parser.add_argument("--sitefs", type=Path, required=True)
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


class Bench:
    def __init__(self, uv, sitefs, requirements, folder):
        # Not resolve(): a link into uv's own environment is how it is found.
        self.uv, self.sitefs = Path(os.path.abspath(uv)), sitefs.resolve()
        self.requirements, self.folder, self.cache = requirements, folder, folder / "cache"
        self.subjects = {"`sitefs mount`": self.mount, "`sitefs mount`, again": self.mount_again, "`sitefs unmount`": self.unmount}
        for mode in LINK_MODES:
            self.subjects[f"`uv pip sync --link-mode {mode}`"] = lambda mode=mode: self.sync(mode)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "UV_CACHE_DIR": str(self.cache),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
        }

    def fill_cache(self):
        say("filling the cache (once)")
        venv = self.fresh_venv()
        self.run(self.uv, "pip", "sync", "-q", "--require-hashes", "--python", venv / "bin/python", self.requirements)

    def count_distributions(self):
        venv = self.fresh_venv()
        self.run_sitefs_mount(venv)
        site_packages = next((venv / "lib").glob("python3*/site-packages"))
        distributions = len(list(site_packages.glob("*.dist-info")))
        files = sum(len(files) for _, _, files in os.walk(site_packages))
        self.run(self.sitefs, "unmount", venv)
        return distributions, files

    def mount(self):
        venv = self.fresh_venv()
        taken = timed(lambda: self.run_sitefs_mount(venv))
        self.run(self.sitefs, "unmount", venv)
        return taken

    def mount_again(self):
        venv = self.fresh_venv()
        self.run_sitefs_mount(venv)
        self.run(self.sitefs, "unmount", venv)
        taken = timed(lambda: self.run_sitefs_mount(venv))
        self.run(self.sitefs, "unmount", venv)
        return taken

    def unmount(self):
        venv = self.fresh_venv()
        self.run_sitefs_mount(venv)
        return timed(lambda: self.run(self.sitefs, "unmount", venv))

    def sync(self, mode):
        venv = self.fresh_venv()
        words = ["pip", "sync", "-q", "--offline", "--require-hashes", "--link-mode", mode]
        return timed(lambda: self.run(self.uv, *words, "--python", venv / "bin/python", self.requirements))

    def run_sitefs_mount(self, venv):
        self.run(self.sitefs, "mount", "-q", "-r", self.requirements, venv, self.cache)

    def fresh_venv(self):
        venv = self.folder / "venv"
        shutil.rmtree(venv, ignore_errors=True)
        self.run(self.uv, "venv", "-q", venv)
        os.sync()
        return venv

    def run(self, *words):
        words = [str(word) for word in words]
        done = subprocess.run(words, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            sys.exit(f"failed: {' '.join(words)}\n{done.stdout.decode(errors='replace')}")


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def print_table(times, counted, rounds):
    distributions, files = counted
    base = statistics.median(times["`sitefs mount`"])
    print(f"{distributions} distributions, {files} files, medians of {rounds} rounds:\n")
    print("| what | ms | ratio to `sitefs mount` |\n|---|---:|---:|")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"| {name} | {median * 1000:.1f} | {median / base:.1f} |")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
