# SPDX-License-Identifier: Apache-2.0
import pytest

from zaqar.bench.ledger import EXAMPLES, GROWTH, Bitmap, Ledger


def book(posted=(), delivered=(), producer=0):
    ledger = Ledger()
    for number in posted:
        ledger.acknowledge(producer, number, 1)
    for number in delivered:
        ledger.deliver(producer, number)
    return ledger


def test_everything_delivered_once_is_neither_lost_nor_duplicated():
    verdict = book(range(100), range(99, -1, -1)).verdict()

    assert (verdict.acknowledged, verdict.delivered) == (100, 100)
    assert (verdict.lost, verdict.duplicated, verdict.left) == (0, 0, 0)


def test_what_was_acknowledged_and_never_came_is_lost_and_named():
    verdict = book(range(10), [0, 1, 2, 4, 5, 6, 8, 9], producer=3).verdict()

    assert verdict.lost == 2
    assert verdict.lost_examples == ("3:3", "3:7")


def test_only_some_of_many_lost_messages_are_named():
    verdict = book(range(1000)).verdict()

    assert verdict.lost == 1000
    assert len(verdict.lost_examples) == EXAMPLES


def test_each_further_delivery_is_a_duplicate():
    assert book(range(3), [0, 1, 2, 1, 1]).verdict().duplicated == 2


def test_a_post_without_acknowledgement_is_not_expected_and_may_come():
    verdict = book([0, 2], [0, 1, 2]).verdict()

    assert (verdict.lost, verdict.duplicated) == (0, 0)
    assert (verdict.acknowledged, verdict.delivered) == (2, 3)


def test_what_is_left_in_a_queue_is_not_lost():
    ledger = book(range(5), [0, 1])
    ledger.left.add(0, 2)
    ledger.left.add(0, 3)

    verdict = ledger.verdict()

    assert (verdict.left, verdict.lost) == (2, 1)
    assert verdict.lost_examples == ("0:4",)


def test_delivery_in_two_processes_is_found_after_merging():
    merged = Ledger()
    merged.merge(book(range(50), range(0, 50, 2)))
    merged.merge(book([], [*range(1, 50, 2), 4, 6], producer=0))

    verdict = merged.verdict()

    assert (verdict.lost, verdict.duplicated) == (0, 2)


def test_producers_do_not_answer_for_each_other():
    merged = Ledger()
    merged.merge(book(range(8), producer=1))
    merged.merge(book((), range(8), producer=2))

    assert merged.verdict().lost == 8


def test_numbers_are_reserved_once_for_each_producer():
    ledger = Ledger()

    assert [ledger.reserve(1, 10), ledger.reserve(1, 1), ledger.reserve(2, 1)] == [
        0,
        10,
        0,
    ]


@pytest.mark.parametrize("number", [0, 7, 8, GROWTH * 8 - 1, GROWTH * 8, 5_000_000])
def test_a_bitmap_grows_to_any_number(number):
    bitmap = Bitmap()

    assert bitmap.add(1, number) is True
    assert bitmap.add(1, number) is False
    assert len(bitmap) == 1
    assert bitmap.row(1) == 1 << number
