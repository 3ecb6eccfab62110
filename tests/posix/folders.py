"""The folders that are compared: on a disk of their own, a plain one, one of kernel overlayfs, and mounted views.

All four lie on one ext4, so that what differs is what shows them. Each has a directory that comes from below: from an
archive in a view, from the lower directory in overlayfs. Only root can make them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

# A directory that two archives have.
SHARED = "shared"
FILES = {
    "one": {f"{SHARED}/one.py": b"one\n", f"{SHARED}/deep/one.txt": b"1" * 100_000},
    "two": {f"{SHARED}/two.py": b"two\n", f"{SHARED}/deep/two.txt": b"2"},
}


@contextmanager
def disk(megabytes):
    """A new ext4; unmounted and gone at the end."""
    if os.geteuid() != 0:
        sys.exit("only root can mount the disk that this needs")
    with tempfile.TemporaryDirectory(prefix="sitefs-posix-") as folder:
        os.chmod(folder, 0o755)
        image, top = Path(folder) / "image", Path(folder) / "disk"
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-m", "0", image)
        top.mkdir()
        run("mount", "-o", "loop", image, top)
        try:
            yield top
        finally:
            # A server writes down that it has ended, after its mount has gone.
            for _ in range(100):
                if subprocess.run(["umount", top], stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                run("umount", top)


@contextmanager
def plain(top):
    """A directory of the disk."""
    folder = top / "plain"
    for files in FILES.values():
        write(folder, files)
    yield folder


@contextmanager
def overlayfs(top):
    """A mount of kernel overlayfs with two lower directories."""
    base = top / "overlayfs"
    for name, files in FILES.items():
        write(base / name, files)
    for name in ["upper", "work", "mount"]:
        (base / name).mkdir()
    options = f"lowerdir={base}/two:{base}/one,upperdir={base}/upper,workdir={base}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, base / "mount")
    try:
        yield base / "mount"
    finally:
        run("umount", base / "mount")


@contextmanager
def view(top, uv, sitefs, entries):
    """site-packages of an environment, mounted with these entries. A failed unmount is an error: a server that is gone, too."""
    base = top / f"view-{entries}"
    base.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SITEFS_", "UV_"))}
    environment |= {"UV_CACHE_DIR": str(base / "cache"), "UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "HOME": str(base)}
    for name, files in FILES.items():
        wheel(base, name, files)
    lock = base / "requirements.txt"
    lock.write_text("".join(f"{name}==1.0\n" for name in FILES))
    run(uv, "venv", "-q", base / "filler", env=environment)
    run(uv, "pip", "sync", "-q", "--no-index", "--find-links", base, "--python", base / "filler", lock, env=environment)
    shutil.rmtree(base / "filler")
    run(uv, "venv", "-q", base / "venv", env=environment)
    words = ["-q", "--link-mode", "fuse", "--entries", entries, "-r", lock]
    run(sitefs, "mount", *words, base / "venv", base / "cache", env=environment)
    try:
        yield next((base / "venv/lib").glob("python3*/site-packages"))
    finally:
        log = (base / "venv/.sitefs/server.log").read_text(errors="replace")
        run(sitefs, "unmount", base / "venv", env=environment)
    (top / f"{entries}.log").write_text(log)


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def wheel(folder, name, files):
    path, dist_info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = dict(files)
    files[f"{dist_info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    files[f"{dist_info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},,\n" for path in [*files, f"{dist_info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**files, f"{dist_info}/RECORD": record.encode()}.items():
            archive.writestr(member, content)


def run(*words, env=None):
    words = [str(word) for word in words]
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(words)}\n{done.stdout.decode(errors='replace')}")
