# SPDX-License-Identifier: Apache-2.0
"""Which errors of the driver mean 'try again later'."""

import pymongo.errors as errors
import pytest

from zaqar.errors import QueueNotFound, StorageUnavailable
from zaqar.storage.mongodb import failures
from zaqar.storage.mongodb.failures import (
    Patience,
    answering,
    is_duplicate,
    translate,
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.ServerSelectionTimeoutError("secret"), "no primary"),
        (errors.WaitQueueTimeoutError("secret"), "in use"),
        (errors.NetworkTimeout("secret"), "in time"),
        (errors.NotPrimaryError("secret"), "changes its primary"),
        (errors.AutoReconnect("secret"), "connection"),
        (errors.ConnectionFailure("secret"), "connection"),
        (errors.ExecutionTimeout("secret", 50), "in time"),
        (errors.WTimeoutError("secret", 64), "majority"),
        (errors.WriteConcernError("secret", 100), "majority"),
        (errors.CursorNotFound("secret", 43), "cursor"),
        (errors.OperationFailure("secret", 13), "login"),
        (errors.OperationFailure("secret", 18), "login"),
        (errors.OperationFailure("secret", 14031), "disk"),
        (
            errors.OperationFailure(
                "secret", 11600, {"codeName": "InterruptedAtShutdown"}
            ),
            "InterruptedAtShutdown",
        ),
        (errors.WriteError("secret", 112), "112"),
        (
            errors.OperationFailure("secret", 1, {"errorLabels": [failures.LABELS[0]]}),
            "cannot do it now",
        ),
        (
            errors.BulkWriteError({"writeErrors": [{"code": 189, "errmsg": "secret"}]}),
            "189",
        ),
        (
            errors.BulkWriteError(
                {"writeErrors": [], "writeConcernErrors": [{"code": 64}]}
            ),
            "majority",
        ),
    ],
    ids=repr,
)
def test_a_store_that_cannot_answer_is_unavailable(
    error: errors.PyMongoError, told: str
) -> None:
    with pytest.raises(StorageUnavailable, match=told) as caught, answering():
        raise error

    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        errors.DuplicateKeyError("twice", 11000),
        errors.OperationFailure("no such operator", 2),
        errors.BulkWriteError({"writeErrors": [{"code": 11000}]}),
        errors.InvalidOperation("closed"),
        errors.InvalidName("a.b"),
        errors.DocumentTooLarge("16 MB"),
        QueueNotFound("q"),
        ValueError("a bug"),
    ],
    ids=repr,
)
def test_bugs_and_facts_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, answering():
        raise error

    assert caught.value is error
    assert not isinstance(error, errors.PyMongoError) or translate(error) is None


def limits(patience: Patience, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return the list in which the seconds are noted that calls are given."""
    given: list[float | None] = []
    real = failures.answering

    def noting(seconds: float | None = None):  # type: ignore[no-untyped-def]
        given.append(seconds)
        return real(seconds)

    monkeypatch.setattr(failures, "answering", noting)
    return given


def test_after_an_outage_calls_are_brief_until_one_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience = Patience()
    given = limits(patience, monkeypatch)

    for outcome in (
        errors.ServerSelectionTimeoutError("gone"),
        errors.AutoReconnect("gone"),
        QueueNotFound("q"),
        errors.ExecutionTimeout("slow", 50),
    ):
        with pytest.raises((StorageUnavailable, QueueNotFound)), patience.answering():
            raise outcome
    with patience.answering():
        pass

    brief = failures.BRIEF_SECONDS
    assert given == [None, brief, brief, None, None]


def test_doubt_about_the_majority_alone_is_no_duplicate() -> None:
    doubt = {"writeErrors": [], "writeConcernErrors": [{"code": 11602}]}
    twin = {"writeErrors": [{"code": 11000}], "writeConcernErrors": []}

    assert not is_duplicate(errors.BulkWriteError(doubt))
    assert is_duplicate(errors.BulkWriteError(twin))
