#!/usr/bin/env python3
"""Records the file-system calls that a Python program makes below a folder, one a line, for replay.c. Needs strace.

S is a stat, N a stat that finds nothing, X an open that finds nothing, D a directory that is listed, O a file that is read
whole, M a library that is opened and mapped.
"""

import os
import re
import subprocess
import tempfile

CALLS = "stat,lstat,newfstatat,open,openat"
LINE = re.compile(r'(\w+)\((?:AT_FDCWD, )?"([^"]+)"(.*)\)\s+= (-?\d+)')


def record(python, code, site_packages):
    """The lines of `python -c code`'s calls below site_packages."""
    folder = os.path.realpath(site_packages) + "/"
    with tempfile.NamedTemporaryFile() as log:
        strace = ["strace", "-f", "-qq", "-s", "0", "-e", f"trace={CALLS}", "-o", log.name]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [*strace, python, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with open(log.name, errors="replace") as lines:
            return [call for call in (parse(line, folder) for line in lines) if call]


def parse(line, folder):
    match = LINE.search(line)
    if not match or not match[2].startswith(folder):
        return None
    call, path, rest, is_found = match[1], match[2][len(folder) :], match[3], int(match[4]) >= 0
    if "stat" in call:
        kind = "S" if is_found else "N"
    elif not is_found:
        kind = "X"
    elif "O_DIRECTORY" in rest:
        kind = "D"
    else:
        kind = "M" if re.search(r"\.so(\.|$)", path) else "O"
    return f"{kind} {path}"
