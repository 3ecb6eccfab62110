"""How long it takes until an environment is complete, and what that costs when there is more of it, or a slower disk."""

import os
import shutil
import subprocess
import time

from environments import (
    Failed,
    Tools,
    drop_kernel_caches,
    in_turn,
    made_up_cache,
    mounted_slow_disk,
    overlay,
    say,
    site_packages,
)

SITEFS_MODES = ["fuse", "symlink", "symlink --fold", "hardlink", "clone", "copy"]
UV_MODES = ["hardlink", "symlink", "clone", "copy"]

# So many distributions, with so many files each.
SCALES = [(10, 10), (10, 1000), (100, 10), (100, 1000), (366, 10), (1000, 10), (1000, 100), (5000, 10)]
QUICK_SCALES = [(10, 10), (100, 10), (366, 10)]
HUGE_SCALES = [(1000, 1000), (5000, 1000)]


def size(bench):
    """How many distributions and files the corpus has."""
    tools = bench.tools
    venv = tools.venv("one")
    tools.mount(venv, bench.lock)
    distributions = tools.details(venv)["distributions"]
    files = sum(len(files) for _, _, files in os.walk(site_packages(venv)))
    tools.unmount(venv)
    return distributions, files


def mounts(bench):
    """Every mode of sitefs, and uv in the same modes, each into a new environment; overlayfs over the same archives."""
    tools, report = bench.tools, bench.report
    sitefs_modes = [mode for mode in SITEFS_MODES if mode != "clone" or tools.has_clones()]
    archives = tools.archives(bench.lock)
    for number in range(bench.rounds):
        say(f"mounts, round {number + 1} of {bench.rounds}")
        for mode in in_turn(sitefs_modes, number):
            venv = tools.venv("one")
            report.add("mount", mode, tools.mount(venv, bench.lock, "--link-mode", *mode.split()))
            os.sync()
            report.add("unmount", mode, tools.unmount(venv))
        venv = tools.venv("one")
        tools.forget_plans()
        took = tools.mount(venv, bench.lock, "--link-mode", "fuse")
        report.add("mount when nothing is remembered of the cache", "fuse", took)
        tools.unmount(venv)
        for mode in in_turn(UV_MODES, number):
            venv = tools.venv("one")
            took = tools.timed(*tools.uv_words(venv, bench.lock, mode))
            report.add("uv", mode if mode != "clone" else what_clone_made(venv), took)
        if bench.is_root:
            venv = tools.venv("one")
            with overlay(archives, site_packages(venv)) as took:
                if took is not None:
                    report.add("overlayfs", "mount, its system calls alone", took)
        report.add("start", "sitefs --version", tools.timed(tools.sitefs, "--version"))


def what_clone_made(venv):
    """uv goes on with something else where the disk has no clones."""
    file = next(site_packages(venv).glob("*.dist-info/METADATA"))
    return "clone (hard links)" if file.stat().st_nlink > 1 else "clone"


def second_mount(bench):
    """The same lock on the same environment again: what can be remembered, is."""
    venv = bench.tools.venv("one")
    bench.tools.mount(venv, bench.lock, "--link-mode", "fuse")
    bench.tools.unmount(venv)
    for _ in range(bench.fast_rounds):
        bench.report.add(
            "second mount",
            f"{bench.report.distributions} distributions",
            bench.tools.mount(venv, bench.lock, "--link-mode", "fuse"),
        )
        bench.tools.unmount(venv)


def many_at_once(bench):
    """Sixteen environments, mounted by sixteen processes at the same time."""
    tools = bench.tools
    for _ in range(bench.rounds):
        venvs = [tools.venv(f"many{index}") for index in range(16)]
        words = [tools.mount_words(venv, bench.lock, "--link-mode", "fuse") for venv in venvs]
        start = time.perf_counter()
        processes = [subprocess.Popen(list(map(str, word)), env=tools.environment) for word in words]
        if any([process.wait() for process in processes]):
            raise Failed("16 mounts at once: one of them failed")
        bench.report.add("16 environments mounted at once", "fuse", (time.perf_counter() - start) * 1000)
        for venv in venvs:
            tools.unmount(venv)
            shutil.rmtree(venv)


def scale(bench):
    """Made-up distributions, so many and with so many files each."""
    scales = QUICK_SCALES if bench.options.quick else SCALES
    for distributions, files in scales + (HUGE_SCALES if bench.options.huge else []):
        cache, lock = made_up_cache(bench.folder, distributions, files)
        tools = Tools(bench.tools.uv, bench.tools.sitefs, bench.folder, cache)
        venv = tools.venv("one")
        # What changed so shortly ago is not remembered.
        time.sleep(2.1)
        tools.mount(venv, lock, "--link-mode", "fuse")
        tools.unmount(venv)
        name = f"{distributions:,} of {files:,} files"
        for number in range(bench.fast_rounds):
            # The same environment again; then a new one.
            bench.report.add("scale, second mount", name, tools.mount(venv, lock, "--link-mode", "fuse"))
            tools.unmount(venv)
            venv = tools.venv("one")
            bench.report.add("scale", name, tools.mount(venv, lock, "--link-mode", "fuse"))
            tools.unmount(venv)


def cold_mounts(bench):
    """With the kernel's caches dropped: what a container sees that has just started."""
    tools = bench.tools
    for number in range(bench.rounds):
        for name in in_turn(["sitefs", "uv hardlink", "uv symlink"], number):
            venv = tools.venv("one")
            drop_kernel_caches()
            if name == "sitefs":
                took = tools.mount(venv, bench.lock, "--link-mode", "fuse")
                tools.unmount(venv)
            else:
                took = tools.timed(*tools.uv_words(venv, bench.lock, name.split()[1]))
            bench.report.add("mount, the kernel's caches dropped", name, took)


def slow_disk(bench):
    """The cache behind a disk that answers each operation a millisecond late: first cold, then warm."""
    program = bench.options.slow_disk.resolve()
    for _ in range(max(1, bench.rounds - 1)):
        with mounted_slow_disk(program, bench.tools) as (tools, operations):
            measure_on_slow_disk(
                bench, "sitefs", operations, lambda venv: tools.mount(venv, bench.lock, "--link-mode", "fuse"), tools.unmount
            )
        with mounted_slow_disk(program, bench.tools, is_for_uv=True) as (tools, operations):
            symlink = lambda venv: tools.timed(*tools.uv_words(venv, bench.lock, "symlink"))
            measure_on_slow_disk(bench, "uv symlink", operations, symlink, lambda venv: None)


def measure_on_slow_disk(bench, name, operations, complete, undo):
    for state in ["cold", "warm"]:
        venv = bench.tools.venv("one")
        before = operations()
        bench.report.add("a slow disk", f"{name}, {state}", complete(venv))
        bench.report.add_counts("operations on a slow disk", f"{name}, {state}", operations() - before)
        undo(venv)
