"""What the bench measures on: environments, caches filled by uv, caches that are made up, and peers of sitefs."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Failed(Exception):
    """A program did not do what a case needs."""


def in_turn(items, number):
    """The same items, beginning with another in each round."""
    number %= len(items)
    return items[number:] + items[:number]


class Tools:
    """sitefs and uv, on one cache, in a folder of their own."""

    def __init__(self, uv, sitefs, folder, cache):
        # Not resolve(): a link into uv's own environment is how it is found.
        self.uv, self.sitefs = os.path.abspath(uv), os.path.abspath(sitefs)
        self.folder, self.cache = folder, cache
        hidden = ("PYTHON", "VIRTUAL_ENV", "SITEFS_", "UV_")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
            "UV_CACHE_DIR": str(cache),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            # Nothing of the user's is read or written; this store stays empty, so no environment has bytecode from it.
            "SITEFS_STORE": str(folder / "empty-store"),
            "XDG_CACHE_HOME": str(folder / "home"),
        }

    def run(self, *words, check=True, **variables):
        """Runs a command with these environment variables besides, and gives what it printed."""
        words = [str(word) for word in words]
        done = subprocess.run(
            words,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(words)}: {done.stdout.strip()}")
        return done.stdout

    def timed(self, *words, **variables):
        start = time.perf_counter()
        self.run(*words, **variables)
        return (time.perf_counter() - start) * 1000

    def venv(self, name):
        """A new, empty environment, when the disk has written what came before."""
        venv = self.folder / "venvs" / name
        self.unmount(venv, check=False)
        shutil.rmtree(venv, ignore_errors=True)
        self.run(self.uv, "venv", "-q", "--python", sys._base_executable, venv)
        os.sync()
        return venv

    def mount_words(self, venv, lock, *options):
        return [self.sitefs, "mount", "-q", *options, "-r", lock, venv, self.cache]

    def mount(self, venv, lock, *options):
        return self.timed(*self.mount_words(venv, lock, *options))

    def unmount(self, venv, check=True):
        if check or (venv / ".sitefs").exists():
            start = time.perf_counter()
            self.run(self.sitefs, "unmount", venv, check=check)
            return (time.perf_counter() - start) * 1000
        return 0.0

    def forget_plans(self):
        """Has sitefs look through the cache anew."""
        shutil.rmtree(self.folder / "home/sitefs/plans", ignore_errors=True)

    def uv_words(self, venv, lock, mode):
        words = [self.uv, "pip", "sync", "-q", "--offline", "--link-mode", mode]
        return [*words, "--python", venv / "bin/python", lock]

    def fill_cache(self, lock):
        """The only step that uses the network, and only once for a folder."""
        marker = self.cache / f".filled-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
        if not marker.exists():
            say(f"filling a cache from {lock.name} (once)")
            venv = self.venv("filler")
            self.run(self.uv, "pip", "sync", "-q", "--require-hashes", "--python", venv / "bin/python", lock)
            shutil.rmtree(venv)
            marker.touch()

    def archives(self, lock):
        """The archives of a lock, lowest first: what `mount` wrote down of a mount."""
        venv = self.venv("one")
        self.mount(venv, lock, "--link-mode", "fuse")
        record = json.loads((venv / ".sitefs/mount.json").read_text())
        self.unmount(venv)
        return [distribution["layers"][0] for distribution in record["distributions"]]

    def has_clones(self):
        one, other = self.folder / "one", self.folder / "other"
        one.write_bytes(b"x" * 65536)
        done = subprocess.run(["cp", "--reflink=always", one, other], stderr=subprocess.DEVNULL)
        for file in (one, other):
            file.unlink(missing_ok=True)
        return done.returncode == 0

    def details(self, venv):
        """What `status` tells of a mount."""
        return json.loads(self.run(self.sitefs, "status", "-v", "--json", venv))["mount"]

    def requests(self, venv):
        """What the kernel has asked the server so far, by operation."""
        return Counter(self.details(venv)["requests"])


def site_packages(venv):
    return next((venv / "lib").glob("python3*/site-packages"))


def lock_of_both(one, other):
    """A lock with all of one, and of the other what is not in it: each pin is a line that is not indented, and what follows."""
    pins = {}
    for pin in re.split(r"(?m)^(?=[a-z0-9])", one + other):
        name = re.match(r"[a-z0-9._-]+(?===)", pin)
        if name:
            pins.setdefault(name[0], pin)
    return "".join(pins.values())


def drop_kernel_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def made_up_cache(folder, distributions, files):
    """A cache as uv lays it out, of distributions with so many modules each, and a lock of all. Gives both."""
    cache, lock = folder / f"made-up-{distributions}-{files}", folder / f"made-up-{distributions}-{files}.txt"
    if not lock.exists():
        say(f"making up a cache of {distributions} distributions with {files} files each")
        shutil.rmtree(cache, ignore_errors=True)
        names = [f"made{number:05}" for number in range(distributions)]
        for name in names:
            make_up(cache, name, files)
        lock.write_text("".join(f"{name}==1.0\n" for name in names))
    return cache, lock


def make_up(cache, name, files):
    archive = cache / "archive-v0" / f"{name:x<20}"
    package, dist_info = archive / name, archive / f"{name}-1.0.dist-info"
    texts = {package / "__init__.py": ""}
    texts.update({package / f"module{number}.py": f"number = {number}\n" for number in range(files - 1)})
    texts[dist_info / "METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    texts[dist_info / "WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    texts[dist_info / "RECORD"] = "".join(f"{path.relative_to(archive)},,\n" for path in texts)
    package.mkdir(parents=True)
    dist_info.mkdir()
    for path, text in texts.items():
        path.write_text(text)
    shelf = cache / "wheels-v6" / "pypi" / name
    shelf.mkdir(parents=True)
    (shelf / "1.0-py3-none-any").symlink_to(archive)
    # One MessagePack array: the archive, no hashes, the file name, the archive bucket.
    text = lambda value: b"\xd9" + bytes([len(value)]) + value.encode()
    pointer = b"\x94" + text(archive.name) + b"\x90" + text(f"{name}-1.0-py3-none-any.whl") + b"\x00"
    (shelf / "1.0-py3-none-any.http").write_bytes(pointer)


@contextlib.contextmanager
def mounted_slow_disk(program, tools, is_for_uv=False):
    """The cache behind a slow disk that nobody has asked yet. Gives tools on it, and what counts its operations."""
    disk = tools.folder / "slow-disk"
    disk.mkdir(exist_ok=True)
    process = subprocess.Popen([program, tools.cache, disk, "1000"])
    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(subprocess.run, ["umount", "-l", disk], check=False)
        while not os.path.ismount(disk):
            if process.poll() is not None:
                raise Failed(f"{program} ended with {process.returncode}")
            time.sleep(0.01)
        cache = stack.enter_context(writable_cache(disk, tools.cache)) if is_for_uv else disk

        def operations():
            lines = os.getxattr(disk, "user.operations").decode().splitlines()
            return Counter({name: int(count) for name, count in (line.split() for line in lines)})

        yield Tools(tools.uv, tools.sitefs, tools.folder, cache), operations


@contextlib.contextmanager
def writable_cache(disk, cache):
    """uv writes into its cache, if only a lock: a folder that can be written, with all large ones on the disk."""
    folder = cache.parent / "slow-cache"
    folder.mkdir(exist_ok=True)
    names = [name for name in os.listdir(cache) if (cache / name).is_dir() and not name.startswith("interpreter")]
    with contextlib.ExitStack() as stack:
        for name in names:
            (folder / name).mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", disk / name, folder / name], check=True)
            stack.callback(subprocess.run, ["umount", "-l", folder / name], check=True)
        yield folder


FSOPEN, FSCONFIG, FSMOUNT, MOVE_MOUNT = 430, 431, 432, 429
SET_STRING, CREATE, EMPTY_PATH = 1, 6, 4


@contextlib.contextmanager
def overlay(archives, point):
    """The kernel's own union of the archives, which only root can make. Gives the milliseconds that it took, or nothing."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number, *arguments):
        given = libc.syscall(number, *arguments)
        if given < 0:
            raise OSError(ctypes.get_errno(), "overlayfs")
        return given

    point.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        context = call(FSOPEN, b"overlay", 0)
        for archive in reversed(archives):
            call(FSCONFIG, context, SET_STRING, b"lowerdir+", str(archive).encode(), 0)
        call(FSCONFIG, context, CREATE, None, None, 0)
        mounted = call(FSMOUNT, context, 0, 0)
        call(MOVE_MOUNT, mounted, b"", -100, str(point).encode(), EMPTY_PATH)
    except OSError as error:
        say(f"no overlayfs to compare with: {error}")
        yield None
        return
    took = (time.perf_counter() - start) * 1000
    os.close(mounted)
    os.close(context)
    try:
        yield took
    finally:
        subprocess.run(["umount", "-l", point], check=True)
