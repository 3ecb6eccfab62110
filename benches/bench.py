#!/usr/bin/env python3
"""Measures sitefs beside uv's link modes, the kernel's overlayfs and plain files: `make bench`.

All take turns in the same rounds on the same disk: read the ratios, not the milliseconds. Everything starts with an
environment whose interpreter has been asked before, and a cache that holds everything. Writes the tables (bench.md) and one
chart (mount.svg) into the folder given with --report. A case that fails is said, the others go on, and the exit code is 1.
Dropping the kernel's caches, overlayfs and the slow disk need root.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

import importing
import mounting
import serving
from environments import Failed, Tools, lock_of_both, say
from report import Report

# A case is a function of the bench, and runs by itself, in this order.
CASES = {
    "mounts": mounting.mounts,
    "second-mount": mounting.second_mount,
    "at-once": mounting.many_at_once,
    "scale": mounting.scale,
    "cold": mounting.cold_mounts,
    "slow-disk": mounting.slow_disk,
    "programs": importing.programs,
    "requests": importing.requests,
    "replay": importing.replay,
    "imports": importing.first_imports,
    "server": serving.server,
    "soak": serving.soak,
}
NEED_ROOT = {"cold", "slow-disk"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["uv", "sitefs", "slow-disk", "requirements", "more-requirements"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("target/bench"), help="where the caches and environments are")
    parser.add_argument("--report", type=Path, default=Path("target/bench"), help="where the tables and the chart go")
    parser.add_argument("--rounds", type=int, default=3, help="of slow cases; the fast ones have three times as many")
    parser.add_argument("--quick", action="store_true", help="one round, small scales: about five minutes")
    parser.add_argument(
        "--huge",
        action="store_true",
        help="also scales of 1,000 and 5,000 distributions with 1,000 files each: six million files",
    )
    parser.add_argument(
        "--soak",
        type=float,
        default=0,
        metavar="MINUTES",
        help="also work on one mount for so long, and watch the server's memory",
    )
    parser.add_argument("--only", choices=CASES, nargs="+", default=[], help="only these cases")
    options = parser.parse_args()
    bench = Bench(options)
    options.report.mkdir(parents=True, exist_ok=True)
    try:
        bench.run(options.only or CASES)
    finally:
        # Also of a run that is interrupted.
        bench.report.write(options.report)
    sys.exit(1 if bench.report.failures else 0)


class Bench:
    """What all cases share."""

    def __init__(self, options):
        self.options = options
        self.folder = options.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rounds = 1 if options.quick else options.rounds
        self.fast_rounds = 3 * self.rounds
        self.tools = Tools(options.uv, options.sitefs, self.folder, self.folder / "cache")
        # What is mounted is one corpus; what is imported needs two of them.
        self.lock = options.requirements.resolve()
        self.large_lock = self.folder / "large.txt"
        self.large_lock.write_text(lock_of_both(self.lock.read_text(), options.more_requirements.read_text()))
        self.has_filled_store = False
        self.is_root = os.geteuid() == 0
        self.report = Report(self.rounds, self.folder, self.tools)

    def run(self, names):
        self.attempt("filling the cache", self.fill)
        for name in [] if self.report.failures else names:
            if name in NEED_ROOT and not self.is_root:
                say(f"{name}: left out, for it needs root")
            elif name != "soak" or self.options.soak:
                self.attempt(name, CASES[name])

    def fill(self, _):
        self.tools.fill_cache(self.lock)
        self.tools.fill_cache(self.large_lock)
        self.report.distributions, self.report.files = mounting.size(self)

    def attempt(self, name, case):
        """Runs one case, and cleans up after it, however it ends."""
        start = time.monotonic()
        try:
            case(self)
            say(f"{name}: done after {time.monotonic() - start:.0f} s")
        except Exception as error:
            detail = str(error) if isinstance(error, Failed) else traceback.format_exc().strip()
            say(f"{name}: FAILED: {detail}")
            self.report.failures[name] = detail.splitlines()[-1]
        finally:
            for venv in (self.folder / "venvs").glob("*"):
                self.tools.unmount(venv, check=False)
                shutil.rmtree(venv, ignore_errors=True)


if __name__ == "__main__":
    main()
