# SPDX-License-Identifier: Apache-2.0
"""Which queues a list is asked for, by their metadata."""

from collections.abc import Mapping

from zaqar.model import Metadata


def matches(metadata: Metadata, match: Mapping[str, str | int]) -> bool:
    """Say whether the metadata has all these values; true and false are no numbers."""
    return all(
        metadata.get(field) == value and not isinstance(metadata[field], bool)
        for field, value in match.items()
    )
