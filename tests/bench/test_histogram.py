# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from zaqar.bench.histogram import BUCKETS, LARGEST, Histogram, upper_edge


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def test_small_numbers_are_counted_exactly():
    histogram = filled(range(100))

    assert [histogram.percentile(p) for p in (1, 50, 99, 100)] == [0, 49, 98, 99]


@pytest.mark.parametrize("percent", [1, 50, 90, 99, 99.9])
def test_a_percentile_is_at_most_1_6_percent_too_high_and_never_too_low(percent):
    source = random.Random(7)
    values = sorted(int(source.lognormvariate(14, 2)) for _ in range(20_000))
    exact = values[int(len(values) * percent / 100) - 1]

    found = filled(values).percentile(percent)

    assert exact <= found <= exact * 1.016


def test_every_value_lies_between_the_edges_of_its_bucket():
    for value in [0, 1, 127, 128, 129, 255, 256, 10**6, 10**9 + 7, LARGEST]:
        index = filled([value]).counts.index(1)

        assert upper_edge(index) >= value
        assert index == 0 or upper_edge(index - 1) < value


def test_the_last_bucket_ends_with_the_largest_value():
    assert upper_edge(BUCKETS - 1) == LARGEST


def test_values_out_of_range_are_counted_at_the_ends():
    histogram = filled([-5, LARGEST + 10])

    assert histogram.counts[0] == histogram.counts[-1] == 1
    assert histogram.count == 2


def test_the_largest_value_is_kept_exactly():
    histogram = filled([1_000_003, 77])

    assert histogram.largest == 1_000_003
    assert histogram.percentile(100) == 1_000_003


def test_an_empty_histogram_answers_zero():
    assert Histogram().percentile(99) == 0
    assert Histogram().mean == 0


def test_merging_equals_recording_everything_in_one():
    first, second = filled(range(0, 5000, 3)), filled(range(1, 9000, 7))

    first.merge(second)

    whole = filled([*range(0, 5000, 3), *range(1, 9000, 7)])
    assert first.counts == whole.counts
    assert (first.largest, first.mean) == (whole.largest, whole.mean)
