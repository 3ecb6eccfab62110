"""Prints, as JSON, what sitefs needs to know of the interpreter that runs this. Python 3.6 or newer, stdlib only."""

import json
import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import MAGIC_NUMBER


def main():
    # As bytes, because the encoding of stdout is the user's choice.
    answer = {"facts": facts(), "markers": markers(), "scheme": scheme(), "bytecode": bytecode()}
    sys.stdout.buffer.write(json.dumps(answer).encode("ascii"))


def bytecode():
    tag = sys.implementation.cache_tag
    return tag and {"cache_tag": tag, "magic": MAGIC_NUMBER.hex()}


def scheme():
    # Not the default scheme, which distributors patch: Debian's says `local/lib/python3.11/dist-packages`.
    # Before 3.11 there is no `venv` scheme, and this is what a virtual environment has.
    before = "nt" if os.name == "nt" else "posix_prefix"
    name = "venv" if "venv" in sysconfig.get_scheme_names() else before
    root = os.sep + "venv"
    bases = ("base", "platbase", "installed_base", "installed_platbase")
    paths = sysconfig.get_paths(name, vars={base: root for base in bases})
    relative = {key: os.path.relpath(paths[key], root) for key in ("purelib", "platlib", "scripts")}
    relative["headers"] = "include/site/python{}.{}".format(*sys.version_info)
    return relative


def markers():
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": full_version(sys.implementation.version),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        # A Python built between releases is called `3.11.7+`, which is no version (PEP 440).
        "python_full_version": platform.python_version().rstrip("+"),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def full_version(info):
    version = "{0.major}.{0.minor}.{0.micro}".format(info)
    if info.releaselevel != "final":
        version += info.releaselevel[0] + str(info.serial)
    return version


def facts():
    return {
        "implementation": sys.implementation.name,
        "version": sys.version_info[:2],
        "ext_suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "debug": is_debug_build(),
        "gil_disabled": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "system": system(),
    }


def is_debug_build():
    flag = sysconfig.get_config_var("Py_DEBUG")
    if flag is None:  # Windows does not say.
        return hasattr(sys, "gettotalrefcount") or "_d.pyd" in EXTENSION_SUFFIXES
    return bool(flag)


def system():
    is_32bit = struct.calcsize("P") == 4
    if platform.system() == "Linux":
        return dict(linux(), name="linux", is_32bit=is_32bit)
    if platform.system() == "Darwin":
        release, _, machine = platform.mac_ver()
        version = [int(number) for number in release.split(".")[:2]]
        return {"name": "macos", "version": version, "machine": machine, "is_32bit": is_32bit}
    return {"name": "other", "platform": sysconfig.get_platform()}


def linux():
    elf_abi, loader = read_elf(sys.executable)
    return {
        "platform": sysconfig.get_platform(),
        "glibc": glibc_version(),
        "musl": musl_version(loader),
        "elf_abi": elf_abi,
    }


def glibc_version():
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return None
    found = re.match(r"glibc (\d+)\.(\d+)", text)
    if found is None:
        return None
    version = [int(number) for number in found.groups()]
    return version if may_use_manylinux(*version) else None


def may_use_manylinux(major, minor):
    """What the distributor of this Python says in a module of its own (PEP 600)."""
    try:
        from _manylinux import manylinux_compatible
    except ImportError:
        return True
    allowed = manylinux_compatible(major, minor, platform.machine())
    return allowed is None or bool(allowed)


def musl_version(loader):
    """musl says its version only when its loader is run."""
    if "musl" not in loader:
        return None
    process = subprocess.Popen([loader], stderr=subprocess.PIPE, universal_newlines=True)
    _, text = process.communicate()
    found = re.match(r"musl.*\s+Version (\d+)\.(\d+)", text)
    return found and [int(number) for number in found.groups()]


def read_elf(path):
    """The ABI that an ELF program is built for, where its machine has several, and the path of its loader."""
    try:
        with open(path, "rb") as file:
            return parse_elf(file)
    except (OSError, ValueError, struct.error):
        return None, ""


def parse_elf(file):
    magic, bits, byte_order = struct.unpack("4sBB", file.read(6))
    if magic != b"\x7fELF":
        raise ValueError("no ELF file")
    order = "<" if byte_order == 1 else ">"
    header, segment = ("HHIIIIIHHH", "IIIIIIII") if bits == 1 else ("HHIQQQIHHH", "IIQQQQQQ")
    offset_at, size_at = (1, 4) if bits == 1 else (2, 5)

    def read_struct(position, layout):
        file.seek(position)
        return struct.unpack(order + layout, file.read(struct.calcsize(order + layout)))

    _, machine, _, _, table, _, flags, _, width, count = read_struct(16, header)
    abi = None
    if (bits, byte_order, machine) == (1, 1, 3):
        abi = "i686"
    elif (bits, byte_order, machine) == (1, 1, 40) and flags & 0xFF000400 == 0x05000400:
        abi = "armhf"
    for index in range(count):
        fields = read_struct(table + index * width, segment)
        if fields[0] == 3:  # PT_INTERP
            file.seek(fields[offset_at])
            return abi, os.fsdecode(file.read(fields[size_at])).strip("\0")
    return abi, ""


main()
