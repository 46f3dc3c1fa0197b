# SPDX-License-Identifier: Apache-2.0
"""How long a call may take, and which errors of the driver mean 'try again later'.

All others are bugs, or facts that the caller looks for, and pass through.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pymongo
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from zaqar.errors import StorageUnavailable

# A request is answered within 10 s. Calls that may be long have this altogether.
ANSWER_SECONDS = 8.0
# While MongoDB is known not to work, requests do not queue up behind it.
BRIEF_SECONDS = 1.0

# The most special first.
KINDS: tuple[tuple[type[PyMongoError], str], ...] = (
    (WaitQueueTimeoutError, "All connections to MongoDB are in use."),
    (ServerSelectionTimeoutError, "MongoDB has no primary that answers."),
    (NetworkTimeout, "MongoDB did not answer in time."),
    (NotPrimaryError, "MongoDB changes its primary."),
    (ConnectionFailure, "The connection to MongoDB broke."),
    (ExecutionTimeout, "MongoDB was not done in time."),
    (WriteConcernError, "A majority of MongoDB's servers did not confirm the write."),
    (CursorNotFound, "MongoDB lost a cursor."),
)

DUPLICATE = 11000
LOGIN = (13, 18, 391)
DISK = (14031,)
WAITS = (
    *(6, 7, 9001),  # HostUnreachable, HostNotFound, SocketException
    *(24, 46, 112),  # LockTimeout, LockBusy, WriteConflict
    *(50, 89, 202, 262),  # time-outs of an operation or between servers
    *(63, 13388, 133),  # a router's view of the shards is old, no server found
    *(91, 189, 10107, 11600, 11602, 13435, 13436),  # shutdown, change of the primary
    *(64, 79, 100, 134),  # majority not reached, not possible, not there yet
    462,  # the server asks for less load
)
LABELS = ("RetryableWriteError", "TransientTransactionError", "SystemOverloadedError")


@contextmanager
def answering(seconds: float | None = None) -> Iterator[None]:
    """Tell what makes the calls inside fail; give them this long altogether.

    Without a number each call takes as long as the client's options say: long enough
    for a change of the primary, and less than 10 s. With one, the driver repeats what
    is safe to repeat until then.
    Raises StorageUnavailable.
    """
    # PERF: the driver takes 40 us more for each call that has a deadline, of 280.
    deadline = nullcontext() if seconds is None else pymongo.timeout(seconds)
    try:
        with deadline:
            yield
    except PyMongoError as error:
        unavailable = translate(error)
        if unavailable is None:
            raise
        raise unavailable from error


class Patience:
    """How long calls wait: briefly once one found no server, until one is answered."""

    def __init__(self) -> None:
        self._is_out = False

    @contextmanager
    def answering(self, seconds: float | None = None) -> Iterator[None]:
        """Do as the function of this name. Raises StorageUnavailable."""
        try:
            with answering(BRIEF_SECONDS if self._is_out else seconds):
                yield
        except StorageUnavailable as error:
            self._is_out = isinstance(error.__cause__, ConnectionFailure)
            raise
        except BaseException:
            self._is_out = False
            raise
        self._is_out = False


def translate(error: PyMongoError) -> StorageUnavailable | None:
    """Return what the error means to callers; None: it is not the store's state."""
    for kind, reason in KINDS:
        if isinstance(error, kind):
            return StorageUnavailable(reason)
    if isinstance(error, BulkWriteError):
        return _of_bulk(error)
    if isinstance(error, OperationFailure):
        return _of_code(error.code, _code_name(error), error)
    return None


def is_duplicate(error: BulkWriteError) -> bool:
    """Say whether the first thing that failed was there already.

    Where only the majority is in doubt, as when the primary changes, nothing failed.
    """
    details: Any = error.details
    errors = details.get("writeErrors") or []
    return bool(errors) and errors[0]["code"] == DUPLICATE


def _of_bulk(error: BulkWriteError) -> StorageUnavailable | None:
    """Return what the first error of a bulk means; others may follow from it."""
    details: Any = error.details
    for each in details.get("writeErrors") or []:
        return _of_code(each.get("code"), "", error)
    return StorageUnavailable(
        "A majority of MongoDB's servers did not confirm a write."
    )


def _of_code(
    code: int | None, name: str, error: PyMongoError
) -> StorageUnavailable | None:
    if code in DISK:
        return StorageUnavailable("The disk of MongoDB is full.")
    if code in LOGIN:
        return StorageUnavailable("MongoDB refuses the login of the service.")
    if code in WAITS or any(map(error.has_error_label, LABELS)):
        # SECURITY: the text of the error may quote what tenants wrote.
        return StorageUnavailable(f"MongoDB cannot do it now: {name or code}.")
    return None


def _code_name(error: OperationFailure) -> str:
    details: Any = error.details or {}
    return str(details.get("codeName", ""))
