"""What the design asks for, a line each: the bar, the aim, what was measured, and by how much it was missed."""


class Bars:
    def __init__(self, report):
        self.report, self.rows = report, []
        self.mounts()
        self.slow_disk()
        self.imports()
        self.requests()
        self.server()

    def lines(self):
        return ["## The bars", "", "| what | bar | aim | measured | |", "|---|---:|---:|---:|---|", *self.rows, ""]

    def mounts(self):
        median = self.report.median
        uv = {name: median("uv", name) for name in self.report.values.get("uv", {})}
        fastest = min(uv, key=uv.get, default=None)
        faster = ratio(uv.get(fastest), median("mount", "fuse"))
        self.at_least(f"mount to ready, against uv's fastest mode ({fastest})", faster, 50, None, " times")
        for what, case in [("mount to ready", "scale"), ("the second time", "scale, second mount")]:
            aim = 8 if case == "scale" else 4
            self.at_most(f"{what}, 366 made-up distributions", median(case, "366 of 10 files"), None, aim, " ms")
        name = f"{self.report.distributions} distributions"
        self.at_most(f"the second time, {name} of the corpus", median("second mount", name), None, 4, " ms")
        files = ratio(median("scale", "100 of 1,000 files"), median("scale", "100 of 10 files"))
        self.at_most("mount, 100 times the files", files, 1.2, 1, " times")
        distributions = ratio(median("scale", "5,000 of 10 files"), median("scale", "1,000 of 10 files"))
        self.at_most("mount, 5 times the distributions (1,000 to 5,000)", distributions, 6, 5, " times")

    def slow_disk(self):
        median = self.report.median
        faster = ratio(median("a slow disk", "uv symlink, cold"), median("a slow disk", "sitefs, cold"))
        self.at_least("mount from a slow disk, against uv's symbolic links", faster, 1, None, " times")
        for state in ["cold", "warm"]:
            each = ratio(median("operations on a slow disk", f"sitefs, {state}"), self.report.distributions)
            self.at_most(f"operations of it on the slow disk for each distribution, {state}", each, None, None)

    def imports(self):
        for name in ["sitefs, shared", "sitefs --entries mixed, shared", "sitefs, its own"]:
            self.share_of_import(f"{name}, with bytecode")
        for name in ["sitefs", "sitefs --entries mixed"]:
            self.share_of_import(f"{name}, without bytecode")
        first = lambda name: self.report.median("first import", name)
        none, native = first("sitefs, no bytecode"), first("uv hardlink, its own bytecode")
        for name in ["sitefs", "sitefs --entries mixed"]:
            shared = first(f"{name}, shared bytecode")
            what = f"first import with shared bytecode ({name})"
            self.at_least(f"{what}, against none", ratio(none, shared), 2.5, 4, " times")
            self.at_most(f"{what}, against hard links with their own", ratio(shared, native), 1.10, None, " times")

    def share_of_import(self, name):
        what = f"file-system share of a warm import, against hard links: {name}"
        self.at_most(what, self.report.median("replay ratio", name), 1.10, 1.04, " times")

    def requests(self):
        for name in ["sitefs", "sitefs, shared bytecode", "sitefs --entries mixed, shared bytecode"]:
            first, second = (self.report.median("requests", f"{name}: {step} import") for step in ["first", "second"])
            modules = f"{self.report.modules:,} modules"
            self.at_most(f"requests in the first import of {modules}: {name}", first, 10_000, 4_000)
            self.at_most(f"requests in a second import: {name}", second, 3, 0)
            for step in ["second find", "third find"]:
                asked = self.report.counts.get(("requests", f"{name}: {step}"))
                # find asks for the file system once, which no kernel remembers.
                count = None if asked is None else asked.total() - asked["statfs"]
                self.at_most(f"requests in a {step}, but its statfs: {name}", count, 0, 0)

    def server(self):
        memory, idle = self.report.all("memory"), self.report.all("wake-ups")
        what = "server memory, 366 made-up or 197 real distributions, all walked"
        self.at_most(what, max(memory, default=None), 50, 25, " MiB")
        self.at_most("wake-ups of an idle server in 5 seconds", max(idle, default=None), 0, 0)
        growth = ratio(self.report.median("soak", "at the end"), self.report.median("soak", "after 2 turns"))
        self.at_most("server memory at the end of the soak, against its begin", growth, 1.1, 1, " times")

    def at_least(self, what, measured, bar, aim, unit=""):
        self.add(what, measured, bar, aim, unit, lambda limit: measured >= limit, lambda limit: limit / measured)

    def at_most(self, what, measured, bar, aim, unit=""):
        self.add(what, measured, bar, aim, unit, lambda limit: measured <= limit, lambda limit: measured / limit)

    def add(self, what, measured, bar, aim, unit, is_met, factor):
        """A line; where nothing was measured, none."""
        if measured is not None:
            verdict = judge(measured, bar, aim, is_met, factor)
            cells = [shown(bar, unit), shown(aim, unit), shown(measured, unit), verdict]
            self.rows.append(f"| {what} | {' | '.join(cells)} |")


def judge(measured, bar, aim, is_met, factor):
    if aim is not None and is_met(aim):
        return "aim met" if aim != bar else "met"
    if bar is not None and is_met(bar):
        return "met"
    limit = aim if bar is None else bar
    if limit is None:
        return ""
    if limit == 0:
        return f"**missed by {measured:,.0f}**"
    missed = factor(limit)
    return f"**missed by a factor of {missed:.{2 if missed < 10 else 0}f}**"


def shown(number, unit):
    if number is None:
        return ""
    digits = 0 if number == int(number) or number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f}{unit}"


def ratio(one, other):
    return one / other if one is not None and other else None
