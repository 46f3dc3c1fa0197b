# SPDX-License-Identifier: Apache-2.0
"""Settings and targets of the tests of senders."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oslo_config import cfg

from zaqar.notification import settings as settings_module
from zaqar.notification.guard import Lookup, addresses_of
from zaqar.notification.payload import Notification, notification
from zaqar.notification.senders import Outcome, Senders, Target, opened
from zaqar.notification.settings import NotificationSettings

# Long enough for a busy machine; what has to end by itself in a test has less.
PATIENT, SHORT = 60.0, 1.0
NOTIFICATION = notification("q", b'{"a": [1, "\xc3\xa4"]}', 60)


def settings(bind: str = "127.0.0.1", **options: Any) -> NotificationSettings:
    """Return the settings that these options come to, without any file."""
    config = cfg.ConfigOpts()
    config.register_opts(settings_module.OPTIONS, group="notification")
    config([], default_config_files=[])
    values = {"delivery_timeout": PATIENT, **options}
    for name, value in values.items():
        config.set_override(name, value, group="notification")
    return settings_module.read(config.notification, bind)


# The sinks of the tests are on this machine.
OPEN = settings(allow_private_targets=True)


def target(
    subscriber: str,
    options: Mapping[str, Any] | None = None,
    document: Notification = NOTIFICATION,
    attempt: int = 1,
) -> Target:
    return Target(
        subscriber=subscriber,
        options=options or {},
        project="p1",
        queue="q",
        delivery="0190f3c2-d1",
        attempt=attempt,
        notification=document,
    )


async def sent(
    *targets: Target,
    given: NotificationSettings = OPEN,
    ask: Lookup = addresses_of,
    config: Any = None,
) -> list[Outcome]:
    """Send one after the other by the same senders."""
    async with opened(given, config, ask) as senders:
        return [await senders.send(each) for each in targets]


async def with_senders(
    run: Callable[[Senders], Awaitable[Any]],
    given: NotificationSettings = OPEN,
    ask: Lookup = addresses_of,
) -> Any:
    async with opened(given, None, ask) as senders:
        return await run(senders)
