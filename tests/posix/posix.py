#!/usr/bin/env python3
"""Runs pjdfstest and fsx on mounted views, beside kernel overlayfs and a plain ext4, and prints what fails where.

Fails if a case fails on a view that overlayfs passes, or one that docs/SEMANTICS.md does not list with its reason.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import folders

SEMANTICS = Path(__file__).parents[2] / "docs/SEMANTICS.md"
SEEDS = [1, 2, 3]

# The two users are those of Debian; the features are Linux's.
PJDFSTEST = """
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"""

# All that fsx knows and ext4 has.
FSX = """
[weights]
truncate = 2
fsync = 1
fdatasync = 1
close_open = 2
read = 10
write = 10
mapread = 5
mapwrite = 5
invalidate = 1
punch_hole = 2
posix_fallocate = 1
sendfile = 1
copy_file_range = 1
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["uv", "sitefs", "pjdfstest", "fsx"]:
        parser.add_argument(f"--{name}", type=lambda path: Path(path).absolute(), required=True)
    parser.add_argument("--operations", type=int, default=2000, help="of each run of fsx")
    options = parser.parse_args()
    results = {}
    with folders.disk(2048) as top:
        (top / "pjdfstest.toml").write_text(PJDFSTEST)
        (top / "fsx.toml").write_text(FSX)
        made = {
            "ext4": folders.plain(top),
            "overlayfs": folders.overlayfs(top),
            "symlink": folders.view(top, options.uv, options.sitefs, "symlink"),
            "file": folders.view(top, options.uv, options.sitefs, "file"),
        }
        for name, folder in made.items():
            with folder as path:
                results[name] = pjdfstest(options.pjdfstest, top, path) | fsx(options, top, path)
    print_table(results)
    sys.exit(1 if complaints(results) else 0)


def pjdfstest(program, top, folder):
    """The cases by name, each with whether it passed; those that are skipped are left out."""
    # The path of a socket may have no more than 107 bytes.
    short = top / "here"
    short.unlink(missing_ok=True)
    short.symlink_to(folder / folders.SHARED)
    words = [program, "-c", top / "pjdfstest.toml", "-p", short]
    text = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    cases = {name: verdict == "ok" for name, verdict in re.findall(r"^(\S+::\S+)\s+(ok|FAILED)$", text, re.MULTILINE)}
    if len(cases) < 300:
        sys.exit(f"pjdfstest ran only {len(cases)} cases on {folder}:\n{text[-2000:]}")
    return {f"pjdfstest {name}": passed for name, passed in cases.items()}


def fsx(options, top, folder):
    """The same of fsx: each seed on a new file, and on one that comes from below."""
    cases = {}
    for seed in SEEDS:
        for place, name in {"new": f"{folders.SHARED}/deep/fsx-{seed}", "below": f"{folders.SHARED}/deep/one.txt"}.items():
            if (folder / name).is_symlink():
                continue
            words = [options.fsx, "-f", top / "fsx.toml", "-S", seed, "-N", options.operations, "-P", top, folder / name]
            done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True, text=True)
            cases[f"fsx {place} {seed}"] = done.returncode == 0
            if done.returncode != 0:
                print(f"fsx {place} {seed} on {folder}:\n{(done.stdout + done.stderr)[-1500:]}")
    return cases


def print_table(results):
    print(f"{'':60}" + "".join(f"{name:>10}" for name in results))
    for suite in ["pjdfstest", "fsx"]:
        counts = [[passed for case, passed in cases.items() if case.startswith(suite)] for cases in results.values()]
        print(f"{suite + ', passed of all':60}" + "".join(f"{f'{sum(count)}/{len(count)}':>10}" for count in counts))
    failed = sorted({case for cases in results.values() for case, passed in cases.items() if not passed})
    for case in failed:
        words = [{True: "ok", False: "FAILED", None: "skipped"}[cases.get(case)] for cases in results.values()]
        print(f"{case:60}" + "".join(f"{word:>10}" for word in words))


def complaints(results):
    listed, wrong = SEMANTICS.read_text(), []
    for view in ["symlink", "file"]:
        for case, passed in results["overlayfs"].items():
            name = case.split(" ", 1)[1]
            if passed and not results[view].get(case, case.startswith("fsx")):
                wrong.append(f"{case} fails on the view (--entries {view}), and passes on overlayfs")
            elif results[view].get(case) is False and f"`{name}`" not in listed:
                wrong.append(f"{case} fails on the view (--entries {view}), and docs/SEMANTICS.md does not say why")
    print("\n".join(wrong))
    return wrong


if __name__ == "__main__":
    main()
