# SPDX-License-Identifier: Apache-2.0
"""Links to the next page of a list."""

from collections.abc import Mapping
from urllib.parse import urlencode


def next_link(
    path: str, marker: str | None, parameters: Mapping[str, str | int | bool | None]
) -> list[dict[str, str]]:
    """Return the link behind a page; none behind an empty one.

    `parameters` are those of the request, so that the next page is read the same way.
    """
    if marker is None:
        return []
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }
    href = f"{path}?{urlencode({**given, 'marker': marker})}"
    return [{"rel": "next", "href": href}]
