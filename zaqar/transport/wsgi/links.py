# SPDX-License-Identifier: Apache-2.0
"""Links to the next page of a list."""

from collections.abc import Mapping

from falcon.uri import encode_value


def next_link(
    path: str, marker: str | None, parameters: Mapping[str, str | int | bool | None]
) -> list[dict[str, str]]:
    """Return the link behind a page; none behind an empty one.

    `parameters` are those of the request, so that the next page is read the same way.
    """
    if marker is None:
        return []
    href = f"{path}?marker={encode_value(marker)}"
    for name, value in parameters.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            href = f"{href}&{encode_value(name)}={encode_value(text)}"
    return [{"rel": "next", "href": href}]
