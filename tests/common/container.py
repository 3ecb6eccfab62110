"""Runs a command as `docker run` does, as far as privileges go: same options, capabilities and refused system calls.

    container.py ROOT [options] -- COMMAND...

ROOT is a directory, the container's root file system; what it needs of this machine is bound into it, in a mount
namespace that ends with COMMAND, which is process 1. With --rootless, COMMAND's root is the user who calls.
"""

import argparse
import ctypes
import os
import struct
import subprocess
import sys

# Source: moby, oci/caps/defaults.go
DEFAULT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
CAPABILITIES = {"SYS_ADMIN": 21}

# What moby's profiles/seccomp/default.json refuses without CAP_SYS_ADMIN, of what sitefs and fusermount3 call.
REFUSED = {"x86_64": [165, 166, 272, 308], "aarch64": [40, 39, 97, 268]}  # mount, umount2, unshare, setns

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

machine = os.uname().machine
libc = ctypes.CDLL(None, use_errno=True)


def main():
    options = parse_arguments()
    become_namespaces(options.rootless)
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
    libc.prctl(PR_SET_PDEATHSIG, 9)
    build_root(options)
    enter(options.root, options.read_only)
    drop_privileges(options)
    os.environ.update(variable.split("=", 1) for variable in options.env)
    os.chdir(options.workdir)
    os.execvp(options.command[0], options.command)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=os.path.abspath)
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--volume", action="append", default=[], metavar="HERE:THERE[:ro]")
    parser.add_argument("--tmpfs", action="append", default=[])
    parser.add_argument("--cap-add", action="append", default=[], choices=CAPABILITIES)
    parser.add_argument("--security-opt", action="append", default=[])
    parser.add_argument("--privileged", action="store_true")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--rootless", action="store_true")
    parser.add_argument("--user", type=int, default=0)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--workdir", default="/")
    parser.add_argument("--program", action="append", default=[], metavar="HERE:THERE")
    parser.add_argument("--python", help="an interpreter of this machine, to be /usr/local/bin/python3")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def become_namespaces(rootless):
    user = os.geteuid()
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | (CLONE_NEWUSER if rootless else 0)), "unshare")
    if rootless:
        for file, text in [("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {os.getegid()} 1")]:
            with open(f"/proc/self/{file}", "w") as opened:
                opened.write(text)
    mount(None, "/", MS_REC | MS_PRIVATE)


def build_root(options):
    root = options.root
    mount(root, root, MS_BIND)
    for path in ["/dev/null", "/dev/zero", "/dev/urandom", *options.device]:
        bind(path, root + path)
    for volume in options.volume:
        here, there, *mode = volume.split(":")
        bind(here, root + there, "ro" in mode and not options.rootless)
    for path in options.tmpfs:
        os.makedirs(root + path, exist_ok=True)
        mount("tmpfs", root + path, 0, "tmpfs", "mode=1777")
    os.makedirs(root + "/proc", exist_ok=True)
    mount("proc", root + "/proc", 0, "proc")
    for program in options.program:
        here, there = program.split(":")
        bind_program(here, root, there)
    if options.python:
        bind_python(options.python, root, options.rootless)


def bind_python(python, root, rootless):
    facts = "import os, sys; print(os.path.realpath(sys.executable), os.path.dirname(os.__file__), sep='\\n')"
    python, library = subprocess.check_output([python, "-I", "-c", facts], text=True).split()
    bind_program(python, root, "/usr/local/bin/python3")
    bind(library, f"{root}/usr/local/lib/{os.path.basename(library)}", not rootless)


def bind_program(here, root, there):
    """A program and the libraries that it needs, of which a static one has none."""
    needed = subprocess.run(["ldd", here], capture_output=True, text=True).stdout.split()
    for path in [word for word in needed if word.startswith("/")]:
        bind(path, root + path)
    bind(here, root + there)


def bind(here, there, read_only=False):
    if os.path.isdir(here):
        os.makedirs(there, exist_ok=True)
    elif not os.path.exists(there):
        os.makedirs(os.path.dirname(there), exist_ok=True)
        open(there, "w").close()
    mount(here, there, MS_BIND | MS_REC)
    if read_only:
        mount(None, there, MS_BIND | MS_REMOUNT | MS_RDONLY)


def enter(root, read_only):
    """By pivot_root(2): the kernel allows no user namespace below a chroot."""
    if read_only:
        mount(None, root, MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chdir(root)
    check(libc.syscall(SYS_PIVOT_ROOT[machine], b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount2")


def drop_privileges(options):
    added = {CAPABILITIES[name] for name in options.cap_add}
    if not options.privileged:
        if not added and "seccomp=unconfined" not in options.security_opt:
            refuse(REFUSED[machine])
        for capability in set(range(64)) - DEFAULT_CAPABILITIES - added:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if "no-new-privileges" in options.security_opt:
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if options.user:
        os.setgroups([])
        os.setresgid(options.user, options.user, options.user)
        os.setresuid(options.user, options.user, options.user)


def refuse(calls):
    """These system calls answer EPERM from now on. Source: seccomp(2)."""
    load, equal, answer = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 0)]
    for index, call in enumerate(calls):
        program.append((equal, len(calls) - index, 0, call))
    program += [(answer, 0, 0, 0x7FFF0000), (answer, 0, 0, 0x00050001)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    whole = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(filters)))
    check(libc.prctl(PR_SET_SECCOMP, 2, whole, 0, 0), "seccomp")


def mount(source, target, flags, kind=None, data=None):
    encoded = [value and os.fsencode(value) for value in (source, target, kind)]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), data and data.encode()), f"mount {source} on {target}")


def check(result, what):
    if result:
        error = ctypes.get_errno()
        sys.exit(f"container.py: {what}: {os.strerror(error)}")


main()
