"""What a complete environment costs to use: programs, the file system's share of an import, first imports and bytecode."""

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from environments import Failed, in_turn, overlay, say, site_packages
from record import record

HERE = Path(__file__).resolve().parent

# Of two corpora, what brings the most modules.
LARGE_SET = (
    "import pandas, sklearn.ensemble, sklearn.linear_model, matplotlib.pyplot, boto3, fastapi, google.cloud.storage,"
    " google.cloud.bigquery, azure.identity, azure.storage.blob, sqlalchemy, sphinx.application"
)

# As in replay.c.
WARM_UP = 2

NATIVE = "uv hardlink"
SITEFS = {
    "sitefs": [],
    "sitefs --entries mixed": ["--entries", "mixed"],
    "sitefs --no-cache-mount": ["--no-cache-mount"],
}
NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def layouts(bench):
    """The same distributions in every way at once, without bytecode: name to environment."""
    tools, made = bench.tools, {}
    archives = tools.archives(bench.large_lock)
    for mode in ["hardlink", "symlink", "copy"]:
        venv = tools.venv(f"uv-{mode}")
        tools.run(*tools.uv_words(venv, bench.large_lock, mode))
        made[f"uv {mode}"] = venv
    for name, options in SITEFS.items():
        venv = tools.venv(name.replace(" ", ""))
        tools.mount(venv, bench.large_lock, "--link-mode", "fuse", *options)
        made[name] = venv
    with overlaid(bench, "overlayfs", archives) as venv:
        yield {**made, **({"overlayfs": venv} if venv else {})}


@contextlib.contextmanager
def overlaid(bench, name, archives):
    """An environment with the kernel's own union, where that can be had."""
    if not bench.is_root:
        yield None
        return
    venv = bench.tools.venv(name)
    with overlay(archives, site_packages(venv)) as took:
        yield venv if took is not None else None


def programs(bench):
    """Whole programs, warm. No bytecode is written, so that each imports the same."""
    tools = bench.tools
    pip = Path(tools.uv).parent / "pip"
    with layouts(bench) as made:
        # The first round warms all.
        for number in range(bench.fast_rounds + 1):
            for name, venv in in_turn(list(made.items()), number):
                python = venv / "bin/python"
                for what, words in {
                    "python -c pass": [python, "-c", "pass"],
                    "find": ["find", site_packages(venv)],
                    "pip list": [pip, "--python", python, "list"],
                    "uv pip list": [tools.uv, "pip", "list", "--python", python],
                    "import requests, jinja2": [python, "-c", "import requests, jinja2"],
                }.items():
                    took = tools.timed(*words, **NO_BYTECODE)
                    if number:
                        bench.report.add(what, name, took)


def requests(bench):
    """What reaches the server, by its own count."""
    tools, report = bench.tools, bench.report
    importing = "-c", LARGE_SET + "; import sys; print(len(sys.modules))"
    store = filled_store(bench)
    for name, options, environment in [
        ("sitefs", [], NO_BYTECODE),
        ("sitefs --entries mixed", ["--entries", "mixed"], NO_BYTECODE),
        ("sitefs, shared bytecode", ["--store", store], {}),
        ("sitefs --entries mixed, shared bytecode", ["--store", store, "--entries", "mixed"], {}),
        ("sitefs, its own bytecode", [], {}),
    ]:
        venv = tools.venv("one")
        tools.mount(venv, bench.large_lock, "--link-mode", "fuse", *options)
        if "own" in name:
            tools.run(venv / "bin/python", *importing)
            tools.unmount(venv)
            tools.mount(venv, bench.large_lock, "--link-mode", "fuse", *options)
        python, walk = [venv / "bin/python", *importing], ["find", site_packages(venv)]
        before = Counter()
        for step, words in [
            ("first import", python),
            ("second import", python),
            ("first find", walk),
            ("second find", walk),
            ("third find", walk),
        ]:
            printed = tools.run(*words, **environment)
            if words is python:
                report.modules = int(printed.split()[-1])
            after = tools.requests(venv)
            report.add_counts("requests", f"{name}: {step}", after - before)
            before = after
        tools.unmount(venv)


def replay(bench):
    """The file system's share of a warm import: its calls recorded once, and replayed in all layouts in turn."""
    for program in ["strace", "cc"]:
        if not shutil.which(program):
            raise Failed(f"{program} is missing: an import cannot be recorded and replayed")
    subprocess.run(["cc", "-O2", "-o", bench.folder / "replay", HERE / "replay.c"], check=True)
    with layouts(bench) as made:
        replay_in(bench, "without bytecode", made)
    with layouts_with_bytecode(bench) as made:
        replay_in(bench, "with bytecode", made)


def replay_in(bench, what, made):
    say(f"recording and replaying an import {what}")
    native = made[NATIVE]
    folder = bench.folder
    calls = record(str(native / "bin/python"), LARGE_SET, site_packages(native))
    (folder / "calls").write_text("".join(f"{call}\n" for call in calls))
    bases = [site_packages(venv) for venv in made.values()]
    rounds = 10 if bench.options.quick else 40
    printed = bench.tools.run(folder / "replay", folder / "calls", rounds, *bases)
    for name, line in zip(made, printed.splitlines(), strict=True):
        milliseconds, ratio = (float(part.split()[0]) for part in line.split(", ")[:2])
        bench.report.add(f"replay {what}", name, milliseconds)
        bench.report.add("replay ratio", f"{name}, {what}", ratio)
        other = int(re.search(r"(\d+) calls went another way", line)[1]) // (rounds + WARM_UP)
        if other > len(calls) // 100:
            raise Failed(
                f"replay {what}: {other} of {len(calls)} calls went another way in {name}: it is not the same import"
            )


@contextlib.contextmanager
def layouts_with_bytecode(bench):
    """As `layouts`, each with all bytecode: its own or, of sitefs, that of the store."""
    tools, made = bench.tools, {}
    store = filled_store(bench)
    native = compiled_by_uv(bench)
    made[NATIVE] = native
    # uv compiles nothing that is a link, so the first import does.
    made["uv symlink"] = tools.venv("uv-symlink")
    tools.run(*tools.uv_words(made["uv symlink"], bench.large_lock, "symlink"))
    tools.run(made["uv symlink"] / "bin/python", "-c", LARGE_SET)
    for name, options in SITEFS.items():
        venv = tools.venv(name.replace(" ", ""))
        tools.mount(venv, bench.large_lock, "--link-mode", "fuse", "--store", store, *options)
        made[f"{name}, shared"] = venv
    made["sitefs, its own"] = tools.venv("own")
    tools.mount(made["sitefs, its own"], bench.large_lock, "--link-mode", "fuse")
    tools.run(made["sitefs, its own"] / "bin/python", "-c", LARGE_SET)
    # Of overlayfs, as one more layer.
    layer = bench.folder / "bytecode-layer"
    shutil.rmtree(layer, ignore_errors=True)
    for folder in site_packages(native).rglob("__pycache__"):
        shutil.copytree(folder, layer / folder.relative_to(site_packages(native)))
    with overlaid(bench, "overlayfs", [*tools.archives(bench.large_lock), layer]) as overlayfs:
        yield {**made, **({"overlayfs": overlayfs} if overlayfs else {})}


def filled_store(bench):
    """A store with the bytecode of all distributions; filling it is timed, the first time."""
    store = bench.folder / "filled-store"
    if not bench.has_filled_store:
        shutil.rmtree(store, ignore_errors=True)
        venv = bench.tools.venv("one")
        words = [
            bench.tools.sitefs,
            "cache",
            "compile",
            "-q",
            "--store",
            store,
            "-r",
            bench.large_lock,
            venv,
            bench.tools.cache,
        ]
        bench.report.add("compiling all", "sitefs cache compile", bench.tools.timed(*words))
        bench.has_filled_store = True
    return store


def compiled_by_uv(bench):
    """uv's hard links with their own bytecode, compiled by uv."""
    venv = bench.tools.venv("uv-compiled")
    words = bench.tools.uv_words(venv, bench.large_lock, "hardlink")
    bench.report.add(
        "compiling all", "uv pip sync --compile-bytecode, with installing", bench.tools.timed(*words, "--compile-bytecode")
    )
    return venv


def first_imports(bench):
    """The large set in a new environment, without bytecode, which the import then writes, and with."""
    tools = bench.tools

    def mounted(*options):
        return lambda venv: tools.mount(venv, bench.large_lock, "--link-mode", "fuse", "--compile-bytecode=never", *options)

    def hard_linked(venv):
        tools.run(*tools.uv_words(venv, bench.large_lock, "hardlink"))

    store = filled_store(bench)
    compiled = compiled_by_uv(bench)
    # What `uv pip sync --compile-bytecode` makes, without compiling it each time.
    copied = lambda venv: tools.run("cp", "-alf", f"{site_packages(compiled)}/.", site_packages(venv))
    ways = {
        "sitefs, no bytecode": mounted(),
        "sitefs, shared bytecode": mounted("--store", store),
        "sitefs --entries mixed, shared bytecode": mounted("--store", store, "--entries", "mixed"),
        "uv hardlink, no bytecode": hard_linked,
        "uv hardlink, its own bytecode": copied,
    }
    for number in range(bench.rounds):
        say(f"first imports, round {number + 1} of {bench.rounds}")
        for name, complete in in_turn(list(ways.items()), number):
            venv = tools.venv("one")
            complete(venv)
            words = [venv / "bin/python", "-c", LARGE_SET]
            bench.report.add("first import", name, tools.timed(*words))
            bench.report.add("second import", name, tools.timed(*words))
            tools.unmount(venv, check=False)
