"""Compiles modules for sitefs: a job a line on standard input, an answer a line on standard output. Python 3.8 or newer,
stdlib only.

The bytecode is what py_compile makes: valid for the time and the size of its source (PEP 552), whatever SOURCE_DATE_EPOCH
says.
"""

import hashlib
import json
import marshal
import os
import struct
import sys
import warnings
from importlib.util import MAGIC_NUMBER


def main():
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(answer(**json.loads(line))).encode("ascii") + b"\n")
        sys.stdout.buffer.flush()


def answer(source, target, name, optimization):
    # Paths come as the hexadecimal digits of their bytes: they may be no text.
    source, target = (os.fsdecode(bytes.fromhex(path)) for path in (source, target))
    try:
        modified, size, bytecode = compiled(source, name, optimization)
    except Exception as error:  # As in compileall: whatever a module does to the compiler, the others go on.
        text = "{}: {}".format(type(error).__name__, error)
        return {"refused": text.encode("ascii", "replace").decode("ascii")}
    try:
        write(target, bytecode)
    except OSError as error:
        return {"failed": "{}: {}".format(target, error).encode("ascii", "replace").decode("ascii")}
    return {
        "compiled": {
            "modified": modified,
            "size": size,
            "bytes": len(bytecode),
            "sha256": hashlib.sha256(bytecode).hexdigest(),
        }
    }


def compiled(source, name, optimization):
    with open(source, "rb") as file:
        stat = os.fstat(file.fileno())
        text = file.read()
    if len(text) != stat.st_size:
        raise ValueError("it changed while it was read")
    code = compile(text, name, "exec", dont_inherit=True, optimize=optimization)
    # What importlib compares.
    modified, size = int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF
    return modified, size, MAGIC_NUMBER + struct.pack("<III", 0, modified, size) + marshal.dumps(code)


def write(path, data):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as file:
        file.write(data)


main()
