# SPDX-License-Identifier: Apache-2.0
"""All senders together: finds the one of a scheme, checks subscribers, delivers."""

import asyncio
import functools
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import Any

from oslo_log import log

from zaqar.errors import ConfigurationError, InvalidRequest
from zaqar.limits import check_retry_policy
from zaqar.notification import filters
from zaqar.notification.guard import Lookup, addresses_of
from zaqar.notification.senders.base import (
    DeliveryFailed,
    Options,
    Outcome,
    Sender,
    Target,
    Tools,
)
from zaqar.notification.settings import NotificationSettings

LOG = log.getLogger(__name__)

GROUP = "zaqar.notification.senders"


def scheme_of(subscriber: str) -> str:
    """Return the scheme of a URI in lower case, empty if it has none."""
    scheme, colon, _ = subscriber.partition(":")
    return scheme.lower() if colon else ""


# PERF: looking through 150 installed packages takes 30 ms.
@functools.cache
def sender_of(scheme: str) -> type[Sender]:
    """Return the class that delivers to a scheme. Raises InvalidRequest."""
    for point in entry_points(group=GROUP, name=scheme):
        found: type[Sender] = point.load()
        return found
    raise InvalidRequest(f"subscriber: nothing delivers to the scheme {scheme!r}.")


def check(
    subscriber: str,
    options: Any,
    settings: NotificationSettings,
    subscriber_types: tuple[str, ...],
) -> None:
    """Raise InvalidRequest, which names the field, unless one can subscribe so.

    Options may be None, which is none. May wait for the addresses of a name.
    """
    scheme = scheme_of(subscriber)
    if scheme not in subscriber_types:
        raise InvalidRequest(
            f"The scheme of subscriber must be one of {', '.join(subscriber_types)}."
        )
    check_options(scheme, options)
    sender_of(scheme).check(subscriber, options or {}, settings)


def check_options(scheme: str, options: Any) -> None:
    """Raise InvalidRequest unless these can be options, whoever the subscriber is."""
    if options is None:
        return
    if not isinstance(options, dict):
        raise InvalidRequest("options must be an object.")
    if (policy := options.get("_retry_policy")) is not None:
        check_retry_policy(policy)
    if (wanted := options.get("filter")) is not None:
        filters.compiled(wanted)


class Senders:
    """Delivers, each attempt within its time; made by `opened`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._senders: dict[str, Sender] = {}

    async def send(self, target: Target) -> Outcome:
        """Make one attempt and tell what came of it; raises nothing but what cancels.

        NOTE: a sender that is cancelled at the deadline may have delivered.
        """
        began = time.monotonic()
        status, final, error = await self._attempt(target)
        return Outcome(error is None, time.monotonic() - began, status, final, error)

    async def _attempt(self, target: Target) -> tuple[int | None, bool, str | None]:
        seconds = self._tools.settings.delivery_timeout
        try:
            async with asyncio.timeout(seconds):
                sender = self._sender(scheme_of(target.subscriber))
                return await sender.deliver(target), False, None
        except TimeoutError:
            return None, False, f"There was no answer within {seconds:g} seconds."
        except DeliveryFailed as failure:
            return failure.status, failure.final, failure.error
        except InvalidRequest as error:
            return None, True, str(error)
        except Exception:
            # Whatever is wrong with one subscriber, or with a sender that somebody
            # else wrote, must not stop the deliveries to all others.
            LOG.exception("Delivery %s fails.", target.delivery)
            return None, False, "The service failed to deliver."

    def _sender(self, scheme: str) -> Sender:
        if scheme not in self._senders:
            self._senders[scheme] = sender_of(scheme)(self._tools)
        return self._senders[scheme]


@asynccontextmanager
async def opened(
    settings: NotificationSettings,
    config: Any,
    ask: Lookup = addresses_of,
) -> AsyncIterator[Senders]:
    """Open what senders need, and close it. Raises ConfigurationError.

    `ask` looks up addresses.
    """
    # PERF: it brings aiohttp, 8 MiB and 0.2 s of CPU that workers, which only check,
    # do without.
    from zaqar.notification.client import Client

    tls = _tls(settings)
    async with Client(settings, tls, ask) as client:
        yield Senders(Tools(settings, client, tls, config))


def _tls(settings: NotificationSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(settings.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"[notification] ca_file = {settings.ca_file}: {error}."
            ) from None
    return context


__all__ = ["Options", "Outcome", "Senders", "Target", "check", "opened"]
