# SPDX-License-Identifier: Apache-2.0
"""Which status and title each error has on the wire (contract: error bodies)."""

from zaqar import errors
from zaqar.errors import ZaqarError

STATUSES: dict[type[ZaqarError], tuple[int, str]] = {
    errors.InvalidRequest: (400, "Invalid API request"),
    errors.InvalidBody: (400, "Invalid request body"),
    errors.InvalidParameter: (400, "Invalid parameter"),
    errors.MissingClientId: (400, "Missing header value"),
    errors.WrongClientId: (400, "Wrong UUID value"),
    errors.MissingProject: (400, "Project-Id Missing"),
    errors.EmptyProject: (400, "Empty project header not allowed"),
    errors.InvalidQueueName: (400, "Invalid queue identification"),
    errors.InvalidTopicName: (400, "Invalid topic identification"),
    errors.UnfitSubscriptionChange: (400, "Unable to update subscription"),
    errors.UnfitConfirmation: (400, "Unable to confirm subscription"),
    errors.FormContentType: (400, "Invalid Content-Type"),
    errors.UnsupportedMediaType: (415, "415 Unsupported Media Type"),
    errors.NotAcceptable: (406, "406 Not Acceptable"),
    errors.UnknownRoute: (404, "404 Not Found"),
    errors.SignatureRefused: (404, "404 Not Found"),
    errors.NotAuthorized: (403, "Not authorized"),
    errors.QueueNotFound: (404, "Not found"),
    errors.MessageNotFound: (404, "Not found"),
    errors.ClaimNotFound: (404, "Not found"),
    errors.PoolNotFound: (404, "Not found"),
    errors.FlavorNotFound: (404, "Not found"),
    errors.UnfitPool: (400, "Unable to create pool"),
    errors.UnfitFlavor: (400, "Unable to create"),
    errors.UnfitFlavorChange: (400, "updatefail"),
    errors.SubscriptionNotFound: (404, "Not found"),
    errors.SubscriberExists: (409, "Resource conflict"),
    errors.PoolUriInUse: (409, "Resource conflict"),
    errors.PoolIsNeeded: (403, "Unable to delete"),
    errors.MetadataKeyNotFound: (409, "Resource conflict"),
    errors.MessageIsClaimed: (403, "Unable to delete"),
    errors.ClaimDoesNotHoldMessage: (400, "Unable to delete"),
    errors.QuotaExceeded: (429, "Quota exceeded"),
    errors.StorageUnavailable: (503, "Service temporarily unavailable"),
    errors.KeyUnavailable: (503, "Service temporarily unavailable"),
}

INTERNAL_ERROR = (500, "Internal server error")
