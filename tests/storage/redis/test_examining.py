# SPDX-License-Identifier: Apache-2.0
"""Facts of what is told of how Redis servers keep what they were told."""

import pytest

from tests.redis_servers import RedisServer
from tests.servers import free_port
from zaqar.findings import ERROR, OK, WARNING, Finding
from zaqar.storage.redis import examining


def look(server: RedisServer) -> dict[str, Finding]:
    """Return the findings by the setting that their remedy names."""
    found = examining.examine("pool r", server.uri)
    return {each.mend.split(" ")[2] if each.mend else "": each for each in found}


def give(server: RedisServer, name: str, value: str) -> None:
    assert server.ask("CONFIG", "SET", name, value) == "+OK"


@pytest.fixture
def sound(own_redis: RedisServer) -> RedisServer:
    """A server that loses nothing."""
    give(own_redis, "maxmemory", "100mb")
    return own_redis


def test_a_server_that_loses_nothing_is_right(sound: RedisServer) -> None:
    [found] = look(sound).values()

    assert (found.level, found.subject) == (OK, "pool r")


@pytest.mark.parametrize(
    ("name", "value", "level", "told"),
    [
        ("appendonly", "no", WARNING, "makes no snapshots"),
        ("appendfsync", "everysec", WARNING, "a power cut may lose"),
        ("maxmemory-policy", "volatile-lru", ERROR, "drops messages"),
        ("maxmemory", "0", WARNING, "take all memory"),
    ],
)
def test_a_setting_that_may_lose_messages_is_told(
    sound: RedisServer, name: str, value: str, level: str, told: str
) -> None:
    give(sound, name, value)

    found = look(sound)

    assert list(found) == [name]
    assert (found[name].level, told in found[name].problem) == (level, True)


def test_a_server_that_could_not_write_is_an_error() -> None:
    [found] = examining._of_state("pool r", {"aof_last_write_status": "err"})

    assert (found.level, "aof_last_write_status" in found.problem) == (ERROR, True)


def test_a_server_that_does_not_tell_its_settings_is_told(sound: RedisServer) -> None:
    sound.ask("ACL", "SETUSER", "mute", "on", "nopass", "~*", "&*", "+@all", "-config")

    [found] = examining.examine(
        "pool r", sound.uri.replace("redis://", "redis://mute:x@")
    )

    assert (found.level, "CONFIG GET" in found.problem) == (WARNING, True)


def test_nothing_is_told_of_a_server_that_does_not_answer() -> None:
    assert examining.examine("pool r", f"redis://127.0.0.1:{free_port()}") == []


def test_nothing_is_told_of_what_is_no_address() -> None:
    assert examining.examine("pool r", "redis://?x") == []
