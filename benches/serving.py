"""What the server of a mount costs: memory, wake-ups, and both over a long time."""

import shutil
import subprocess
import time
from pathlib import Path

from environments import Tools, made_up_cache, say, site_packages
from importing import LARGE_SET

MIB = 1024


def server(bench):
    """Memory when everything was looked at and again after a soak, and wake-ups when nothing happens."""
    cache, lock = made_up_cache(bench.folder, 366, 10 if bench.options.quick else 100)
    made_up = Tools(bench.tools.uv, bench.tools.sitefs, bench.folder, cache)
    for name, tools, what in [("197 real", bench.tools, bench.large_lock), ("366 made up", made_up, lock)]:
        venv = tools.venv("one")
        tools.mount(venv, what, "--link-mode", "fuse")
        process = server_of(tools, venv)
        walk(bench, venv)
        bench.report.add("memory", f"{name}, all walked", resident(process))
        for _ in range(20):
            walk(bench, venv)
        bench.report.add("memory", f"{name}, walked 20 times more", resident(process))
        before = switches(process)
        time.sleep(5)
        bench.report.add("wake-ups", f"{name}, in 5 idle seconds", switches(process) - before)
        tools.unmount(venv)


def soak(bench):
    """Memory while one mount is worked on: all is walked, imported, made, changed, renamed and removed, again and again."""
    tools = bench.tools
    venv = tools.venv("one")
    tools.mount(venv, bench.large_lock, "--link-mode", "fuse")
    process = server_of(tools, venv)
    # What is remembered is remembered after the second turn.
    for _ in range(2):
        turn(bench, venv)
    begin, ends, turns = resident(process), time.monotonic() + bench.options.soak * 60, 0
    bench.report.add("soak", "after 2 turns", begin)
    while time.monotonic() < ends:
        turn(bench, venv)
        turns += 1
        now = resident(process)
        bench.report.add("soak", "after each further turn", now)
        say(f"soak: {turns} turns, {now:.1f} MiB (began with {begin:.1f})")
    bench.report.add("soak", "at the end", resident(process))
    bench.report.add("soak turns", "walks, imports and changes", turns)
    tools.unmount(venv)


def turn(bench, venv):
    """Some minutes of somebody's work, in seconds."""
    walk(bench, venv)
    bench.tools.run(venv / "bin/python", "-c", LARGE_SET)
    bench.tools.run(bench.tools.uv, "pip", "list", "--python", venv / "bin/python")
    folder = site_packages(venv)
    mine = folder / "soak"
    mine.mkdir()
    for number in range(500):
        (mine / f"module{number}.py").write_text(f"number = {number}\n")
        (mine / f"module{number}.py").rename(mine / f"renamed{number}.py")
    # As editors save, and as installers move aside.
    edited = folder / "sphinx/__main__.py"
    (mine / "new.py").write_text(edited.read_text() + "\n")
    (mine / "new.py").replace(edited)
    edited.rename(mine / "aside.py")
    (mine / "aside.py").rename(edited)
    shutil.rmtree(mine)
    for cached in folder.glob("sphinx/**/__pycache__"):
        shutil.rmtree(cached)


def walk(bench, venv):
    """Looks at every entry, which the kernel has forgotten where it can be told to."""
    if bench.is_root:
        Path("/proc/sys/vm/drop_caches").write_text("2")
    subprocess.run(["find", site_packages(venv), "-newer", "/"], check=True, stdout=subprocess.DEVNULL)


def server_of(tools, venv):
    return Path("/proc") / str(tools.details(venv)["pid"])


def resident(process):
    """MiB of memory that a process has."""
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / MIB


def switches(process):
    """How often the threads of a process gave up the processor, having waited for something."""
    threads = [(task / "status").read_text() for task in (process / "task").iterdir()]
    lines = [line for text in threads for line in text.splitlines() if line.startswith("voluntary")]
    return sum(int(line.split()[1]) for line in lines)
