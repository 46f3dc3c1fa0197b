# SPDX-License-Identifier: Apache-2.0
"""What is asked of the servers themselves: whether they can serve, what they promise.

When the store is opened, a server that does not answer is no reason to refuse: it may
start later.
"""

from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from zaqar.errors import ConfigurationError
from zaqar.storage.redis.client import Client
from zaqar.storage.redis.pool import Unreached

OLDEST = (6, 2)


def check(client: Client) -> None:
    """Raises ConfigurationError if a server can never serve as a store."""
    try:
        answers = client.every_server(("INFO",))
    except Unreached as error:
        if isinstance(error.cause, AuthenticationError | ResponseError):
            raise _refused(f"it refuses the login: {error.cause}") from None
        return
    except ResponseError as error:
        raise _refused(f"it refuses INFO: {error}") from None
    except RedisError:
        return
    for answer in answers:
        _check(facts_of(answer))


def is_durable(client: Client) -> bool:
    """Say whether each server keeps what it answered; one that does not tell does not.

    Raises StorageUnavailable.
    """
    told = client.options("append*")
    return told is not None and all(
        options.get(b"appendonly") == b"yes"
        and options.get(b"appendfsync") == b"always"
        for options in told
    )


def _check(facts: dict[str, str]) -> None:
    version = facts.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise _refused(f"version {version} is too old; 6.2 is the oldest that works")
    if facts.get("role") == "slave":
        raise _refused("it is a replica, which cannot be written to")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys") and facts.get("maxmemory", "0") != "0":
        raise _refused(
            f"maxmemory-policy {policy} would drop messages; set it to noeviction"
        )


def _refused(reason: str) -> ConfigurationError:
    return ConfigurationError(f"The Redis server cannot be used: {reason}.")


def facts_of(answer: Any) -> dict[str, str]:
    """Read the answer of INFO."""
    text = answer.decode() if isinstance(answer, bytes) else str(answer)
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, _, value in pairs}
