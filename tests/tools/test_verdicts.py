# SPDX-License-Identifier: Apache-2.0
"""The audit of tools/faults finds each kind of damage, and nothing where there is none.

Each test plants one fault in the evidence of a sound run.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
LOST = -1


@pytest.fixture(scope="module")
def verdicts() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("verdicts")
    sys.path.remove(str(TOOLS))


class Run:
    """A small sound run: m0 and m1 are left, m2 is deleted, m3 popped, m0 claimed."""

    def __init__(self, verdicts: ModuleType) -> None:
        self._verdicts = verdicts
        self.Seen = verdicts.Seen
        self.events: list[Any] = []
        self.claims: dict[str, Any] = {}
        self.integrity = "ok"
        self.facts: dict[str, Any] = {}
        self.add("post", 1, 2, 201, tags=["p-0", "p-1"], ids=["m0", "m1"])
        self.add("post", 3, 4, 201, tags=["p-2", "p-3"], ids=["m2", "m3"])
        m0, m2 = self.Seen("m0", "p-0", "c1"), self.Seen("m2", "p-2", "c1")
        self.add("claim", 5, 6, 201, claim="c1", ttl=60, messages=[m0, m2])
        self.add("delete", 7, 8, 204, claim="c1", ids=["m2"])
        self.add("pop", 9, 10, 200, limit=1, messages=[self.Seen("m3", "p-3")])
        self.left = verdicts.Remains(
            listed=[m0, self.Seen("m1", "p-1")],
            listed_at=20.0,
            total=2,
            claimed=1,
            free=1,
            rows=2,
        )

    def add(
        self, operation: str, sent: float, done: float, status: int, **facts: Any
    ) -> None:
        event = self._verdicts.Event(
            operation=operation,
            queue="q",
            sent=sent,
            done=done,
            status=status,
            **facts,
        )
        self.events.append(event)

    def change(self, **facts: Any) -> None:
        """Change what is left of the queue."""
        self.left = msgspec.structs.replace(self.left, **facts)

    def violated(self) -> set[str]:
        evidence = self._verdicts.Evidence(
            self.events, {"q": self.left}, self.claims, self.integrity, **self.facts
        )
        checks = self._verdicts.VERDICTS.values()
        return {check.__name__ for check in checks if check(evidence)}


@pytest.fixture
def run(verdicts: ModuleType) -> Run:
    return Run(verdicts)


def test_sound_run_violates_nothing(run: Run) -> None:
    assert run.violated() == set()


def test_acknowledged_message_that_is_not_there_is_lost(run: Run) -> None:
    run.add("post", 11, 12, 201, tags=["p-4"], ids=["m4"])

    assert run.violated() == {"lost_messages"}


def test_lost_deletion_may_explain_a_missing_message(run: Run) -> None:
    run.add("post", 11, 12, 201, tags=["p-4"], ids=["m4"])
    run.add("delete", 13, 14, LOST, claim="c2", ids=["m4"])

    assert run.violated() == set()


def test_lost_pop_explains_as_many_missing_messages_as_it_asked_for(run: Run) -> None:
    run.add("post", 11, 12, 201, tags=["p-4", "p-5"], ids=["m4", "m5"])
    run.add("pop", 13, 14, LOST, limit=2)
    explained = run.violated()
    run.add("post", 11, 12, 201, tags=["p-6"], ids=["m6"])

    assert explained == set()
    assert run.violated() == {"lost_messages"}


def test_lost_pop_explains_nothing_that_was_posted_later(run: Run) -> None:
    run.add("pop", 11, 12, LOST, limit=2)
    run.add("post", 13, 14, 201, tags=["p-4"], ids=["m4"])

    assert run.violated() == {"lost_messages"}


def test_half_of_a_batch_in_doubt_is_found(run: Run) -> None:
    run.add("post", 11, 12, LOST, tags=["p-4", "p-5"])
    run.change(
        listed=[*run.left.listed, run.Seen("m4", "p-4")], total=3, free=2, rows=3
    )

    assert run.violated() == {"lost_messages"}


def test_batch_in_doubt_may_be_there_or_not(run: Run) -> None:
    run.add("post", 11, 12, LOST, tags=["p-4", "p-5"])
    absent = run.violated()
    both = [run.Seen("m4", "p-4"), run.Seen("m5", "p-5")]
    run.change(listed=[*run.left.listed, *both], total=4, free=3, rows=4)

    assert absent == set()
    assert run.violated() == set()


def test_half_of_a_deletion_in_doubt_is_found(run: Run) -> None:
    run.add("post", 11, 12, 201, tags=["p-4"], ids=["m4"])
    run.add("bulk", 13, 14, LOST, ids=["m1", "m4"])

    assert run.violated() == {"half_deletions"}


@pytest.mark.parametrize("id", ["m2", "m3"])
def test_removed_message_that_is_left_is_found(run: Run, id: str) -> None:
    seen = run.Seen(id, f"p-{id[1]}")
    run.change(listed=[*run.left.listed, seen], total=3, free=2, rows=3)

    assert run.violated() == {"returned_messages"}


def test_removed_message_that_is_claimed_later_is_found(run: Run) -> None:
    again = run.Seen("m2", "p-2", "c2")
    run.add("claim", 9, 10, 201, claim="c2", ttl=60, messages=[again])

    assert run.violated() == {"returned_messages"}


def test_message_that_is_popped_twice_is_found(run: Run) -> None:
    run.add("pop", 9, 10, 200, limit=1, messages=[run.Seen("m3", "p-3")])

    assert run.violated() == {"returned_messages"}


def test_message_in_two_live_claims_is_found(run: Run) -> None:
    again = run.Seen("m0", "p-0", "c2")
    run.add("claim", 15, 16, 201, claim="c2", ttl=60, messages=[again])

    assert "shared_messages" in run.violated()


def test_message_in_two_claims_granted_at_the_same_time_is_found(run: Run) -> None:
    again = run.Seen("m0", "p-0", "c2")
    run.add("claim", 5.5, 6.5, 201, claim="c2", ttl=60, messages=[again])

    assert "shared_messages" in run.violated()


def test_message_in_a_claim_whose_answer_was_lost_is_found(
    run: Run, verdicts: ModuleType
) -> None:
    run.claims["c9"] = verdicts.StoredClaim(15.0, 75.0, ["m0"])

    assert "shared_messages" in run.violated()


@pytest.mark.parametrize("ending", ["release", "expiry"])
def test_message_may_be_claimed_again_after_the_claim(run: Run, ending: str) -> None:
    later = 70 if ending == "expiry" else 15
    if ending == "release":
        run.add("release", 11, 12, LOST, claim="c1")
    again = run.Seen("m0", "p-0", "c2")
    run.add("claim", later, later + 1, 201, claim="c2", ttl=60, messages=[again])
    run.change(listed=[again, run.left.listed[1]], listed_at=later + 2)

    assert run.violated() == set()


def test_renewed_claim_holds_beyond_its_first_end(run: Run) -> None:
    run.add("renew", 50, 51, 204, claim="c1", ttl=60)
    again = run.Seen("m0", "p-0", "c2")
    run.add("claim", 70, 71, 201, claim="c2", ttl=60, messages=[again])

    assert "shared_messages" in run.violated()


@pytest.mark.parametrize("status", [204, LOST, 503])
def test_renewal_may_bring_the_end_of_a_claim_forward(run: Run, status: int) -> None:
    run.add("renew", 7, 7.5, status, claim="c1", ttl=10, retry_after="10")
    again = run.Seen("m0", "p-0", "c2")
    run.add("claim", 18, 19, 201, claim="c2", ttl=60, messages=[again])
    run.change(listed=[again, run.left.listed[1]])

    assert run.violated() == set()


def test_message_popped_from_a_live_claim_is_found(run: Run) -> None:
    run.add("pop", 11, 12, 200, limit=1, messages=[run.Seen("m0", "p-0")])

    assert "shared_messages" in run.violated()


def test_live_claim_that_holds_its_message_no_more_is_found(run: Run) -> None:
    run.change(listed=[run.Seen("m0", "p-0"), run.left.listed[1]], claimed=0, free=2)

    assert run.violated() == {"lost_claims"}


def test_message_stored_twice_is_found(run: Run) -> None:
    twice = run.Seen("m9", "p-1")
    run.change(listed=[*run.left.listed, twice], total=3, free=2, rows=3)

    assert "duplicates" in run.violated()


def test_message_that_nobody_posted_is_found(run: Run) -> None:
    strange = run.Seen("m9", "p-9")
    run.change(listed=[*run.left.listed, strange], total=3, free=2, rows=3)

    assert run.violated() == {"duplicates"}


def test_messages_out_of_order_are_found(run: Run) -> None:
    run.change(listed=run.left.listed[::-1])

    assert run.violated() == {"disorder"}


@pytest.mark.parametrize("counter", ["total", "claimed", "free", "rows"])
def test_wrong_counter_is_found(run: Run, counter: str) -> None:
    run.change(**{counter: 7})

    assert run.violated() == {"wrong_counters"}


@pytest.mark.parametrize("status", [400, 404, 500])
def test_unexpected_answer_is_found(run: Run, status: int) -> None:
    run.add("delete", 11, 12, status, claim="c1", ids=["m9"])

    assert run.violated() == {"wrong_answers"}


def test_claim_may_be_unknown_after_its_end(run: Run) -> None:
    run.add("renew", 70, 71, 404, claim="c1", ttl=60)
    run.change(
        listed=[run.Seen("m0", "p-0"), run.left.listed[1]],
        listed_at=80.0,
        claimed=0,
        free=2,
    )

    assert run.violated() == set()


def test_broken_file_is_found(run: Run) -> None:
    run.integrity = "row 7 missing from index message_by_id"

    assert run.violated() == {"broken_file"}


def test_refusal_that_does_not_say_when_to_come_again_is_found(run: Run) -> None:
    run.add("list", 11, 12, 503, retry_after="10")
    clear = run.violated()
    run.add("list", 11, 12, 503)

    assert clear == set()
    assert run.violated() == {"silent_refusals"}


@pytest.mark.parametrize("status", [204, 503])
def test_late_answer_is_found(run: Run, status: int) -> None:
    run.add("list", 11, 21.5, status, retry_after="10")

    assert run.violated() == {"late_answers"}


def test_lost_answer_is_found_unless_the_service_was_killed(run: Run) -> None:
    run.add("list", 11, 12, LOST)
    killed = run.violated()
    run.facts["kills"] = 0

    assert killed == set()
    assert run.violated() == {"late_answers"}


def test_refusal_soon_after_a_fault_of_the_store_is_none_later_is(
    run: Run, verdicts: ModuleType
) -> None:
    run.facts["faults"] = [verdicts.Fault("kill", 11.0, 13.0)]
    run.add("list", 21, 24, 503, retry_after="10")
    run.add("list", 22, 22.5, 204)
    soon = run.violated()
    run.add("list", 23.5, 24, 503, retry_after="10")

    assert soon == set()
    assert run.violated() == {"late_recoveries"}


def test_fault_of_the_store_that_nothing_succeeds_after_is_found(
    run: Run, verdicts: ModuleType
) -> None:
    run.facts["faults"] = [verdicts.Fault("kill", 11.0, 13.0)]
    run.add("list", 20, 23.5, 204)

    assert run.violated() == {"late_recoveries"}


def test_growth_is_told(run: Run) -> None:
    run.facts["growth"] = ["9 threads more in 17"]

    assert run.violated() == {"grown_processes"}


def test_ledger_tells_what_was_never_answered(tmp_path: Path, run: Run) -> None:
    ledger = importlib.import_module("ledger")
    book = ledger.Ledger(tmp_path / "p0.ledger")
    book.conclude(book.intend("post", "q", tags=["p-0"]), 201, ids=["m0"])
    book.intend("pop", "q", limit=3)
    book.close()

    first, second = ledger.read([tmp_path / "p0.ledger"])

    assert (first.status, first.tags, first.ids) == (201, ["p-0"], ["m0"])
    assert first.sent <= first.done
    assert (second.in_doubt, second.limit, second.done) == (True, 3, float("inf"))
