#!/usr/bin/env python3
"""Times each mode of `sitefs mount` to ready, and `unmount`, beside `uv pip sync` in the same link mode.

All take turns in the same rounds on the same disk, warm: read the ratios, not the seconds. Each starts with an empty
environment whose interpreter has been asked before, and a cache that holds everything. Prints a Markdown table of medians.
Clones need a file system that has them: give a folder on btrfs or XFS with --folder.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

SITEFS_MODES = ["fuse", "symlink", "symlink --fold", "hardlink", "clone", "copy"]
UV_MODES = ["symlink", "hardlink", "clone", "copy"]


def main():
    options = parse_arguments()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.uv, options.sitefs, options.requirements.resolve(), folder)
    bench.fill_cache()
    sitefs_modes = [mode for mode in SITEFS_MODES if mode != "clone" or bench.has_clones()]
    times = {}
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for mode in sitefs_modes:
            mounted, unmounted = bench.sitefs_times(mode)
            times.setdefault(("mount", mode), []).append(mounted)
            times.setdefault(("unmount", mode), []).append(unmounted)
        for mode in UV_MODES:
            times.setdefault(("uv", mode), []).append(bench.uv_time(mode))
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
        self.mount(venv, "fuse")
        site_packages = next((venv / "lib").glob("python3*/site-packages"))
        distributions = len(list(site_packages.glob("*.dist-info")))
        files = sum(len(files) for _, _, files in os.walk(site_packages))
        self.run(self.sitefs, "unmount", venv)
        return distributions, files

    def has_clones(self):
        one, other = self.folder / "one", self.folder / "other"
        one.write_bytes(b"x" * 65536)
        done = subprocess.run(["cp", "--reflink=always", one, other], stderr=subprocess.DEVNULL)
        for file in (one, other):
            file.unlink(missing_ok=True)
        if done.returncode != 0:
            say(f"{self.folder} has no clones: sitefs refuses them there, and uv copies instead")
        return done.returncode == 0

    def sitefs_times(self, mode):
        venv = self.fresh_venv()
        mounted = timed(lambda: self.mount(venv, mode))
        os.sync()
        return mounted, timed(lambda: self.run(self.sitefs, "unmount", venv))

    def mount(self, venv, mode):
        self.run(self.sitefs, "mount", "-q", "--link-mode", *mode.split(), "-r", self.requirements, venv, self.cache)

    def uv_time(self, mode):
        venv = self.fresh_venv()
        words = ["pip", "sync", "-q", "--offline", "--require-hashes", "--link-mode", mode]
        return timed(lambda: self.run(self.uv, *words, "--python", venv / "bin/python", self.requirements))

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
    medians = {key: statistics.median(taken) * 1000 for key, taken in times.items()}
    print(f"{distributions} distributions, {files} files, medians of {rounds} rounds, in ms:\n")
    print("| mode | `sitefs mount` | `sitefs unmount` | `uv pip sync` | uv / sitefs |\n|---|---:|---:|---:|---:|")
    for mode in SITEFS_MODES:
        ours, undone, theirs = (medians.get((what, mode)) for what in ("mount", "unmount", "uv"))
        cells = [f"{time:,.1f}" if time is not None else "" for time in (ours, undone, theirs)]
        ratio = f"{theirs / ours:.1f}" if ours and theirs else ""
        print(f"| `{mode}` | {' | '.join(cells)} | {ratio} |")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
