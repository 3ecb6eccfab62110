#!/usr/bin/env python3
"""Runs stress-ng's file system stressors on mounted views, with all that it can verify.

Fails on a wrong answer, a server that is gone, memory that grows, a line of the log that tells of a defect, or an unmount
that fails.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import folders

# Stressors of the class that are not about a view's files, and why.
LEFT_OUT = {
    "bind-mount": "mounts",
    "binderfs": "mounts",
    "eventfd": "is about descriptors alone",
    "fanotify": "watches every mount of the machine",
    "file-ioctl": "asks for blocks that the kernel counts itself, which it does not for FUSE until it asks for attributes",
    "getdent": "reads /dev, /proc, /sys and the home directory",
    "procfs": "reads /proc",
}

# How much the server may grow while the stressors run a second time: pages that its allocator keeps.
GROWTH = 8 << 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["uv", "sitefs"]:
        parser.add_argument(f"--{name}", type=lambda path: Path(path).absolute(), required=True)
    parser.add_argument("--seconds", type=int, default=60, help="about, in all")
    options = parser.parse_args()
    wrong = []
    with folders.disk(4096) as top:
        for entries in ["symlink", "file"]:
            with folders.view(top, options.uv, options.sitefs, entries) as site_packages:
                wrong += stress(entries, site_packages, options.seconds)
            wrong += complaints_of_log(top / f"{entries}.log")
    print("\n".join(wrong) or "stress: no wrong answer, memory flat, servers alive, logs clean, unmounted")
    sys.exit(1 if wrong else 0)


def stress(entries, site_packages, seconds):
    """Half of the time for each kind of entries, in two rounds: the second must not need more memory than the first left."""
    wrong, server, folder = [], server_of(site_packages), site_packages / folders.SHARED
    memory = [resident(server)]
    for _ in range(2):
        wrong += run_stressors(max(seconds // 4, 1), folder)
        memory.append(resident(server))
    print(f"--entries {entries}: the server's memory before, between and after: {memory} KiB")
    if memory[2] > memory[1] + GROWTH:
        wrong.append(f"--entries {entries}: the server's memory grew: {memory} KiB")
    left = [name for name in os.listdir(folder) if name not in ("one.py", "two.py", "deep")]
    if left:
        wrong.append(f"--entries {entries}: stressors could not remove {left[:5]}")
    return wrong


def run_stressors(seconds, folder):
    """One of each, all at the same time."""
    words = ["stress-ng", "--class", "filesystem", "--all", 1, "--exclude", ",".join(LEFT_OUT), "--verify"]
    words += ["--timeout", f"{seconds}s", "--temp-path", folder]
    try:
        done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    except subprocess.TimeoutExpired:
        return ["stress-ng does not end"]
    text = done.stdout.decode(errors="replace")
    found = [line for line in text.splitlines() if re.search(r"\b(fail|error):", line)]
    # 3 and 4 are what it gives where a stressor cannot run here.
    if done.returncode not in (0, 3, 4) and not found:
        found = [text]
    return found


def server_of(site_packages):
    return json.loads((site_packages.parents[2] / ".sitefs/mount.json").read_text())["pid"]


def resident(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1])


def complaints_of_log(log):
    """ext4 has no more room for one file's attributes than a block, and a stressor fills it."""
    lines = [line for line in log.read_text().splitlines() if re.search(r"ERROR|WARN|panic", line)]
    lines = [line for line in lines if not re.search(r"WARN setxattr: .*No space left on device", line)]
    return [f"{log.name}: {line}" for line in lines[:20]]


if __name__ == "__main__":
    main()
