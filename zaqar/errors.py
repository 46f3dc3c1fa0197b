# SPDX-License-Identifier: Apache-2.0
"""Every error of the service, named by its condition.

ZaqarError
├── BadInput                    the caller's mistake
│   ├── InvalidRequest          well-formed, but breaks a rule (range, unknown value)
│   ├── InvalidBody             not JSON, wrong kind, missing field, wrong type
│   ├── InvalidParameter        query parameter of the wrong type
│   ├── MissingClientId, WrongClientId
│   ├── MissingProject, EmptyProject
│   ├── InvalidQueueName        also a project id that is too long
│   ├── InvalidTopicName
│   ├── UnfitSubscriptionChange nothing known is to be changed
│   ├── UnfitConfirmation       it does not say what is confirmed
│   ├── UnfitPool               its capabilities differ from the others of its flavor
│   ├── UnfitFlavor             no pools, unknown ones, or ones that differ
│   ├── UnfitFlavorChange       a flavor is to be given unknown pools
│   ├── FormContentType, UnsupportedMediaType, NotAcceptable
│   └── UnknownRoute            no such resource
│       └── SignatureRefused    no valid signature for this request
├── NotAuthorized               a policy rule refuses
├── NotThere
│   ├── QueueNotFound, MessageNotFound, ClaimNotFound, PoolNotFound, FlavorNotFound
│   ├── SubscriptionNotFound
│   └── MetadataKeyNotFound     a patch names a key that is not stored
├── MessageIsClaimed            deleting needs the claim that holds the message
├── ClaimDoesNotHoldMessage     the claim given is dead, unknown or another's
├── SubscriberExists            another subscription of the queue has this subscriber
├── LeaseLost                   somebody else delivers for the queue, or it is gone
├── PoolUriInUse                another pool has this URI
├── PoolIsNeeded                it is the last pool of a flavor
├── QuotaExceeded               the project has used up one of its quotas
├── QueueChanged                settings are newer than those the caller used
├── SubscriptionChanged         somebody else changed the subscription meanwhile
├── DirectoryChanged            somebody else changed pools or flavors meanwhile
├── BindingChanged              somebody else bound the queue, or set it free
├── StorageUnavailable          try again later
│   └── KeyUnavailable          a body can be neither encrypted nor decrypted here
└── ConfigurationError          the service cannot start like this
"""

from zaqar.model import Binding, Queue


class ZaqarError(Exception):
    """Base of all errors that the service raises on purpose."""


class BadInput(ZaqarError):
    """Base of the caller's mistakes; the message names the field and the limit."""


class InvalidRequest(BadInput):
    """A well-formed request breaks a rule of the API."""


class InvalidBody(BadInput):
    """The request body is not the JSON document that is expected."""


class InvalidParameter(BadInput):
    """A query parameter has the wrong type."""


class MissingClientId(BadInput):
    """The Client-ID header is absent."""


class WrongClientId(BadInput):
    """The Client-ID header is not a UUID (or not of the configured length)."""


class MissingProject(BadInput):
    """No project id was sent."""


class EmptyProject(BadInput):
    """The project id is empty."""


class InvalidQueueName(BadInput):
    """A queue name breaks its rule, or the project id is too long."""


class InvalidTopicName(BadInput):
    """A topic name breaks its rule."""


class UnfitSubscriptionChange(BadInput):
    """A change of a subscription names nothing that can be changed."""


class UnfitConfirmation(BadInput):
    """The body is not that of a confirmation."""


class UnfitPool(BadInput):
    """A pool cannot do what the other pools of its flavor can, or can do more."""


class UnfitFlavor(BadInput):
    """A flavor cannot be made of these pools."""


class UnfitFlavorChange(BadInput):
    """A flavor cannot be given these pools: one is unknown."""


class FormContentType(BadInput):
    """A form was posted where JSON is expected."""


class UnsupportedMediaType(BadInput):
    """The content type of the body is not the one that this resource reads."""


class NotAcceptable(BadInput):
    """The client accepts nothing that the service can write."""


class UnknownRoute(BadInput):
    """No such resource."""


class SignatureRefused(UnknownRoute):
    """A request that says it is signed is not, or not for this; it is not told why."""


class NotAuthorized(ZaqarError):
    """The policy does not allow this operation."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"The policy rule {rule} does not allow this request.")
        self.rule = rule


class NotThere(ZaqarError):
    """Base: the caller named one thing, and it does not exist."""


class QueueNotFound(NotThere):
    """Raised when the queue does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Queue {name} does not exist.")
        self.name = name


class MessageNotFound(NotThere):
    """Raised when the queue holds no such message, or none of those asked for."""

    def __init__(self, queue: str, *ids: str) -> None:
        super().__init__(f"No message {', '.join(ids)} in queue {queue}.")
        self.queue, self.ids = queue, ids


class SubscriptionNotFound(NotThere):
    """Raised when the queue has no such live subscription."""

    def __init__(self, queue: str, subscription: str) -> None:
        super().__init__(f"No subscription {subscription} of queue {queue}.")
        self.queue, self.subscription = queue, subscription


class ClaimNotFound(NotThere):
    """Raised when the claim is unknown, has expired, or holds no message any more."""

    def __init__(self, queue: str, claim: str) -> None:
        super().__init__(f"No live claim {claim} in queue {queue}.")
        self.queue, self.claim = queue, claim


class PoolNotFound(NotThere):
    """Raised when no pool has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Pool {name} does not exist.")
        self.name = name


class FlavorNotFound(NotThere):
    """Raised when the project has no flavor of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Flavor {name} does not exist.")
        self.name = name


class MetadataKeyNotFound(NotThere):
    """Raised when a patch replaces or removes a metadata key that is not stored."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The queue has no metadata key {key}.")
        self.key = key


class SubscriberExists(ZaqarError):
    """Raised when a subscriber would be told of a queue's messages twice."""

    def __init__(self, queue: str, subscriber: str) -> None:
        # SECURITY: a subscriber's URI may carry a password or a token.
        super().__init__(f"Queue {queue} has a subscription of this subscriber.")
        self.queue, self.subscriber = queue, subscriber


class LeaseLost(ZaqarError):
    """Raised when a dispatcher settles what is not its own any more."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"Somebody else delivers for queue {queue}, or it is gone.")
        self.queue = queue


class PoolUriInUse(ZaqarError):
    """Raised when a pool gets the URI of another one, or one of the same store."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"The uri is that of pool {pool}, or leads to its store.")
        self.pool = pool


class PoolIsNeeded(ZaqarError):
    """Raised when the last pool of a flavor is to be removed."""

    def __init__(self, pool: str, flavor: str) -> None:
        super().__init__(
            f"Pool {pool} is the only one of flavor {flavor}; remove the flavor first, "
            "or give it another pool."
        )
        self.pool, self.flavor = pool, flavor


class QuotaExceeded(ZaqarError):
    """Raised when a project has used up a quota; `retry_after` is in seconds.

    Waiting helps where the quota is a rate; otherwise something has to go first.
    """

    def __init__(self, quota: str, limit: float, retry_after: int) -> None:
        super().__init__(
            f"The quota {quota} of this project is used up: its limit is {limit:.15g}."
        )
        self.quota, self.limit, self.retry_after = quota, limit, retry_after


class MessageIsClaimed(ZaqarError):
    """Raised when a claimed message is deleted without the claim that holds it."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"Message {message} is claimed; pass the claim_id of its claim."
        )
        self.message = message


class ClaimDoesNotHoldMessage(ZaqarError):
    """Raised when the claim id given is dead, unknown, or does not hold the message."""

    def __init__(self, claim: str, message: str) -> None:
        super().__init__(f"Claim {claim} does not hold message {message}.")
        self.claim, self.message = claim, message


class QueueChanged(ZaqarError):
    """Raised when the queue's revision is not the caller's; carries the fresh queue."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(f"The settings of queue {queue.name} have changed.")
        self.queue = queue


class SubscriptionChanged(ZaqarError):
    """Raised when the subscription that is stored is not the one the caller read."""

    def __init__(self, queue: str, id: str) -> None:
        super().__init__(f"Subscription {id} of queue {queue} has changed.")


class DirectoryChanged(ZaqarError):
    """Raised when the directory that is stored is not the one the caller read."""


class BindingChanged(ZaqarError):
    """Raised when a queue is bound otherwise than the caller thinks; says how."""

    def __init__(self, binding: Binding | None) -> None:
        super().__init__("The place of the queue has changed.")
        self.binding = binding


class StorageUnavailable(ZaqarError):
    """Raised when a store does not answer or cannot write; the only 'try again'."""

    retry_after = 1

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyUnavailable(StorageUnavailable):
    """Raised when there is no key for a body that must be encrypted, or was."""

    retry_after = 30


class ConfigurationError(ZaqarError):
    """Raised at start when an option has a value that cannot work."""
