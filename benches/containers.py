#!/usr/bin/env python3
"""Times `sitefs run` as process 1 of a container, by what the container may do: to the start of its command, and to its end.

Needs root, and no container engine: tests/common/container.py gives what `docker run` would. All take turns in the same
rounds on the same disk, warm: read the ratios, not the seconds. Each starts with an empty environment, on a tmpfs or on the
disk, and a read-only cache. HOME is not set, so each asks its interpreter anew. Prints a Markdown table of medians.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

CONTAINER = Path(__file__).resolve().parent.parent / "tests/common/container.py"

MOUNT = ["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"]
SUBJECTS = {
    "fuse, root": (MOUNT, []),
    "fuse, user 12345": ([*MOUNT, "--user", "12345"], []),
    "symlink, no privileges": (["--user", "12345"], []),
    "copy, no privileges": (["--user", "12345"], ["--link-mode", "copy"]),
    "nothing to mount": ([], None),
}

START = """
import os, subprocess, sys, time
subprocess.check_call(['python3', '-m', 'venv', '--without-pip', '--clear', '/run/app/venv'])
os.environ['STARTED'] = str(time.time_ns())
os.execvp(sys.argv[1], sys.argv[1:])"""
READY = "import os, time; print(time.time_ns() - int(os.environ['STARTED']))"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["uv", "sitefs", "requirements"]:
        parser.add_argument(f"--{name}", type=os.path.abspath, required=True)
    parser.add_argument("--folder", type=os.path.abspath, default="target/bench-containers")
    parser.add_argument("--on-disk", action="store_true", help="the environment, below --folder instead of on a tmpfs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench = Bench(options)
    times = {name: [] for name in SUBJECTS}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for name, times_of_one in times.items():
            times_of_one.append(bench.run(*SUBJECTS[name]))
    print("| | to the command, ms | to the end, ms |\n|---|---:|---:|")
    for name, pairs in times.items():
        to_command, to_end = (statistics.median(values) / 1e6 for values in zip(*pairs))
        print(f"| {name} | {to_command:.0f} | {to_end:.0f} |")


class Bench:
    def __init__(self, options):
        self.options, self.folder = options, options.folder
        self.python = sys._base_executable
        shutil.rmtree(f"{self.folder}/root", ignore_errors=True)
        os.makedirs(f"{self.folder}/root/run/app")
        os.chmod(f"{self.folder}/root/run/app", 0o1777)
        environment = {**os.environ, "UV_CACHE_DIR": f"{self.folder}/cache", "UV_NO_CONFIG": "1"}
        venv = f"{self.folder}/filler"
        uv = [options.uv, "--quiet"]
        subprocess.check_call([*uv, "venv", "--clear", "--python", self.python, venv], env=environment)
        subprocess.check_call([*uv, "pip", "sync", "--python", venv, options.requirements], env=environment)

    def run(self, privileges, mode):
        """Nanoseconds to the start of the command, and to the end of the container."""
        volumes = {self.folder + "/cache": "/cache:ro", self.options.requirements: "/app/requirements.txt:ro"}
        container = [sys.executable, CONTAINER, f"{self.folder}/root", *privileges, "--python", self.python]
        container += ["--program", self.options.sitefs + ":/usr/local/bin/sitefs"]
        for here, there in volumes.items():
            container += ["--volume", f"{here}:{there}"]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        if self.options.on_disk:
            shutil.rmtree(f"{self.folder}/root/run/app/venv", ignore_errors=True)
        else:
            container += ["--tmpfs", "/run/app"]
        run = ["sitefs", "run", "-q", "--venv", "/run/app/venv", "--cache", "/cache", "-r", "/app/requirements.txt"]
        run = [] if mode is None else [*run, *mode, "--"]
        command = ["python3", "-c", START, *run, "/usr/local/bin/python3", "-IS", "-c", READY]
        process = subprocess.Popen([*container, "--", *command], env=environment, stdout=subprocess.PIPE)
        ready = int(process.stdout.readline())
        answered = time.time_ns()
        if process.wait() != 0:
            sys.exit(f"failed: {command}")
        return ready, ready + time.time_ns() - answered


main()
