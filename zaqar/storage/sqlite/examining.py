# SPDX-License-Identifier: Apache-2.0
"""Looks at a store's file and its folder: rights, owners, disk. Changes nothing."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from zaqar.findings import Finding, error, ok, warning

# What SQLite and the store keep beside the file.
BESIDE = ("-wal", "-shm", ".lock")
# File systems on which the log or the locks do not keep their promise.
REMOTE = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "virtiofs")
LEAST_FREE = 200 * 1024 * 1024
FOR_OTHERS, WRITABLE_FOR_OTHERS = 0o077, 0o022


def examine(subject: str, path: str) -> list[Finding]:
    """Tell what is wrong with the file and its folder, or that nothing is."""
    file = Path(path)
    if not file.parent.is_dir():
        return [
            warning(
                subject,
                f"The folder {file.parent} does not exist yet.",
                "The server makes it when it starts, if it may.",
            )
        ]
    found = [*_of_folder(subject, file.parent)]
    if file.exists():
        found += _of_file(subject, file)
    else:
        found.append(
            warning(
                subject,
                f"{path} does not exist yet.",
                "The server makes it when it starts. If it was there before, restore "
                "it from a backup.",
            )
        )
    return found or [ok(subject, f"{path} and its folder have the right owner.")]


def _of_folder(subject: str, folder: Path) -> Iterator[Finding]:
    if not os.access(folder, os.W_OK | os.X_OK):
        yield error(
            subject,
            f"The folder {folder} cannot be written to by this user.",
            f"Run as the user of the server, or: chown that user {folder}",
        )
    if folder.stat().st_mode & WRITABLE_FOR_OTHERS:
        yield warning(
            subject,
            f"Others may put files into {folder}.",
            f"chmod go-w {folder}",
        )
    system = _file_system(folder)
    if system in REMOTE:
        yield error(
            subject,
            f"{folder} is on a network file system ({system}), which does not keep "
            "the locks and the log that the store needs.",
            "Put the file on a disk of this machine.",
        )
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        yield warning(
            subject,
            f"The disk of {folder} has {free // 1024**2} MB left.",
            "Make room: a full disk answers 503.",
        )


def _of_file(subject: str, file: Path) -> Iterator[Finding]:
    if not os.access(file, os.R_OK | os.W_OK):
        yield error(
            subject,
            f"{file} cannot be read and written by this user.",
            "Run as the user of the server, or give that user the file (chown).",
        )
    files = [file, *(Path(f"{file}{end}") for end in BESIDE)]
    there = [each for each in files if each.exists()]
    open_to_others = [str(each) for each in there if each.stat().st_mode & FOR_OTHERS]
    if open_to_others:
        yield warning(
            subject,
            f"Other users may open {', '.join(open_to_others)}; all tenants' messages "
            "are in it.",
            f"chmod 600 {' '.join(open_to_others)}",
        )
    owner = file.stat().st_uid
    if owner != os.geteuid():
        yield warning(
            subject,
            f"{file} belongs to another user ({_name(owner)}) than the one who looks; "
            "what this user makes beside it, the server may not be able to use.",
            f"Run commands as {_name(owner)}.",
        )
    strange = [str(each) for each in there if each.stat().st_uid != owner]
    if strange:
        yield error(
            subject,
            f"{', '.join(strange)}: the owner is not that of {file}; a command was "
            "run as another user.",
            f"chown --reference={file} {' '.join(strange)}",
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _file_system(folder: Path) -> str:
    """Return the kind of file system that the folder is on; empty: unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    where, best = folder.resolve(), ("", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        # The later mount hides the earlier one of the same place.
        if where.is_relative_to(point) and len(point) >= len(best[0]):
            best = point, after.split()[0]
    return best[1]
