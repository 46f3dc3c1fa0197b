# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for request documents: mostly right, often wrong in one place.

A wrong value is taken from the same small set everywhere, so that each field meets each
kind of wrong.
"""

from typing import Any

from hypothesis import strategies as st

Json = st.SearchStrategy[Any]

NAMES = ["q", "a.b", "A_-0", "x" * 64]

texts = st.text(max_size=8) | st.sampled_from(["", "é", "\u0000", "🐟", "x" * 70])
integers = st.sampled_from(
    [
        *(-(2**63), -1, 0, 1, 2, 20, 21, 59, 60, 61, 500, 900, 901, 43200, 43201),
        *(262144, 262145, 1209600, 1209601, 2**63 - 1),
    ]
)
scalars = st.none() | st.booleans() | integers | texts | st.sampled_from([60.0, 1.5])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


def often(right: Json, wrong: Json = values) -> Json:
    """Return a strategy that is right nine times out of ten."""
    return st.integers(0, 9).flatmap(lambda n: wrong if n == 9 else right)


def objects(required: dict[str, Json], optional: dict[str, Json]) -> Json:
    """Return objects with these fields, now and then with another or one less."""
    right = st.fixed_dictionaries(required, optional=optional)
    more = st.dictionaries(texts, values, max_size=2)
    mixed = st.builds(lambda other, own: {**other, **own}, more, right)
    less = right.map(lambda own: dict(list(own.items())[1:]))
    return often(right | mixed, less | values)


ttls = often(st.sampled_from([60, 61, 500, 43200]))
names = often(st.sampled_from(NAMES))
policies = objects(
    {},
    {
        "retries_with_no_delay": often(st.integers(0, 3)),
        "minimum_delay_retries": often(st.integers(0, 3)),
        "minimum_delay": often(st.integers(0, 25)),
        "maximum_delay": often(st.integers(10, 40)),
        "maximum_delay_retries": often(st.integers(0, 3)),
        "retry_backoff_function": often(st.sampled_from(["linear", "geometric"])),
        "ignore_subscription_override": often(st.booleans()),
    },
)
metadata = objects(
    {},
    {
        "a": values,
        "_max_messages_post_size": often(st.sampled_from([200, 262144, None])),
        "_default_message_ttl": ttls,
        "_default_message_delay": often(st.sampled_from([0, 0, 1, 900, None])),
        "_dead_letter_queue": names,
        "_dead_letter_queue_messages_ttl": ttls,
        "_max_claim_count": often(st.integers(1, 3)),
        "_enable_encrypt_messages": often(st.just(False), st.booleans() | values),
        "_flavor": often(texts),
        "_retry_policy": policies,
    },
)
messages = objects({"body": values}, {"ttl": ttls, "delay": often(st.integers(0, 900))})
posts = objects({"messages": often(st.lists(messages, min_size=1, max_size=3))}, {})
claims = objects(
    {}, {"ttl": ttls, "grace": ttls, "limit": often(st.integers(1, 20) | st.none())}
)
wrong_claims = objects({}, {"ttl": values, "grace": values, "limit": values})
purges = objects(
    {
        "resource_types": often(
            st.lists(often(st.sampled_from(["messages", "subscriptions"])), max_size=3)
        )
    },
    {},
)
subscribers = often(
    st.integers(0, 2).map(lambda n: f"mailto:{n}@example.org")
    | st.sampled_from(["https://192.0.43.8/", "trust+https://192.0.43.8/"]),
    values | st.sampled_from(["http://127.0.0.1/", "ftp://x/", "http://[", "mailto:"]),
)
subscription_ttls = often(st.sampled_from([60, 3600, 2**36, None]))
options = objects(
    {},
    {
        "trust_id": often(st.just("0" * 32)),
        "post_headers": often(st.sampled_from([{}, {"X-A": "b"}])),
        "post_data": often(st.just('{"a": "$zaqar_message$"}')),
        "secret": often(texts),
        "filter": often(st.sampled_from([{}, {"a": ["b"]}])),
        "dead_letter_queue": names,
        "from": texts,
        "subject": texts,
        "_retry_policy": policies,
    },
)
subscription_fields = {"ttl": subscription_ttls, "options": often(options | st.none())}
subscriptions = objects({"subscriber": subscribers}, subscription_fields)
subscription_changes = objects({}, {"subscriber": subscribers, **subscription_fields})
confirmations = objects({"confirmed": often(st.booleans())}, {})
replays = often(
    st.none() | objects({}, {"message_ids": often(st.lists(texts, max_size=2))})
)
shares = objects(
    {},
    {
        "paths": often(st.lists(often(st.sampled_from(["messages", "claims"])))),
        "methods": often(st.lists(often(st.sampled_from(["GET", "POST"])))),
        "expires": often(
            st.sampled_from(["2999-01-01", "2999-01-01T00:00:00.5+01:00"])
        ),
    },
)
paths = often(
    st.sampled_from(
        ["/metadata/a", "/Metadata/b", "/metadata/a~1b~0", "/metadata/_flavor"]
    ),
    values | st.sampled_from(["/metadata", "/metadata/", "/meta/a", "/metadata/a~2"]),
)
operations = objects(
    {
        "op": often(st.sampled_from(["add", "add", "remove", "replace"])),
        "path": paths,
        "value": values,
    },
    {},
)
patches = often(st.lists(operations, max_size=3))

# Of pools and flavors; their names are drawn like those of queues.
POOL_NAMES = ["q", "a.b", "A_-0"]
flavor_names = often(st.sampled_from(["q", "gold", ""]))
pool_fields = {
    "uri": often(st.sampled_from([f"sqlite:///pools/{n}.db" for n in range(4)])),
    "weight": often(st.integers(0, 3)),
}
more_pool_fields = {
    "flavor": flavor_names,
    "options": often(st.sampled_from([{}, {}, {"synchronous": "FULL"}])),
}
pools = objects(pool_fields, more_pool_fields)
pool_changes = objects({}, {**pool_fields, **more_pool_fields})
pool_lists = often(st.lists(often(st.sampled_from(POOL_NAMES)), max_size=2))
wishes = often(
    st.dictionaries(st.sampled_from(["FIFO", "DURABILITY"]), often(st.booleans()))
    | st.lists(st.sampled_from(["FIFO", "DURABILITY"]), max_size=2)
)
flavors = objects({"pool_list": pool_lists}, {}) | objects({"capabilities": wishes}, {})
