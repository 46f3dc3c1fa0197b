# SPDX-License-Identifier: Apache-2.0
"""The home documents (JSON home): which resources there are, and their methods."""

from typing import Any

from zaqar.transport.wsgi.dialect import Dialect, HomeResources

# Name, template below the prefix, methods. POST and PATCH take JSON.
RESOURCES: HomeResources = (
    ("queues", "/queues{?marker,limit,detailed}", "GET"),
    ("queue", "/queues/{queue_name}", "GET PUT DELETE PATCH"),
    ("queue_stats", "/queues/{queue_name}/stats", "GET"),
    ("queue_share", "/queues/{queue_name}/share", "POST"),
    ("queue_purge", "/queues/{queue_name}/purge", "POST"),
    (
        "messages",
        "/queues/{queue_name}/messages{?marker,limit,echo,include_claimed}",
        "GET",
    ),
    ("post_messages", "/queues/{queue_name}/messages", "POST"),
    ("messages_delete", "/queues/{queue_name}/messages{?ids,pop}", "DELETE"),
    (
        "message_delete",
        "/queues/{queue_name}/messages/{message_id}{?claim}",
        "DELETE",
    ),
    ("message_get", "/queues/{queue_name}/messages/{message_id}", "GET"),
    ("claim", "/queues/{queue_name}/claims/{claim_id}", "GET"),
    ("post_claim", "/queues/{queue_name}/claims{?limit}", "POST"),
    ("patch_claim", "/queues/{queue_name}/claims/{claim_id}", "PATCH"),
    ("delete_claim", "/queues/{queue_name}/claims/{claim_id}", "DELETE"),
    ("subscriptions_get", "/queues/{queue_name}/subscriptions{?marker,limit}", "GET"),
    ("subscriptions_post", "/queues/{queue_name}/subscriptions", "POST"),
    (
        "subscription",
        "/queues/{queue_name}/subscriptions/{subscriptions_id}",
        "GET DELETE",
    ),
    (
        "subscription_patch",
        "/queues/{queue_name}/subscriptions/{subscriptions_id}",
        "PATCH",
    ),
    ("ping", "/ping", "GET"),
)
ADMIN_RESOURCES: HomeResources = (
    ("pools", "/pools{?detailed,limit,marker}", "GET"),
    ("pool", "/pools/{pool_name}", "GET PUT PATCH DELETE"),
    ("flavors", "/flavors{?detailed,limit,marker}", "GET"),
    ("flavor", "/flavors/{flavor_name}", "GET PUT PATCH DELETE"),
    ("health", "/health", "GET"),
)

# Parameters whose names differ from those of their variables.
LIMITS = {
    "queues": "param/queue_limit",
    "messages": "param/messages_limit",
    "post_claim": "param/claim_limit",
    "subscriptions_get": "param/subscription_limit",
    "subscriptions_post": "param/subscription_limit",
    "pools": "param/pool_limit",
    "flavors": "param/flavor_limit",
}
# Resources that are recorded with one variable more than their template has.
EXTRA_VARIABLES = {"subscriptions_post": ("limit",)}
WITHOUT_ACCEPT_POST = ("queue", "pool", "flavor")


def home_document(
    dialect: Dialect, version: dict[str, Any], admin: bool
) -> dict[str, Any]:
    """Return the document; `version` is the version's own entry."""
    resources = dialect.home + (ADMIN_RESOURCES if admin else ())
    return {
        "resources": {
            f"rel/{name}": _resource(name, dialect.prefix + template, methods.split())
            for name, template, methods in resources
        },
        "version": version,
    }


def _resource(name: str, template: str, methods: list[str]) -> dict[str, Any]:
    hints: dict[str, Any] = {"allow": methods, "formats": {"application/json": {}}}
    if name not in WITHOUT_ACCEPT_POST and ("POST" in methods or "PATCH" in methods):
        hints["accept-post"] = ["application/json"]
    variables = _variables(name, template)
    if name == "health":
        return {"href": template, "hints": hints}
    resource: dict[str, Any] = {"href-template": template, "hints": hints}
    if variables:
        resource["href-vars"] = variables
    return resource


def _variables(name: str, template: str) -> dict[str, str]:
    """Return the variables of the template and what each stands for."""
    found = [
        variable
        for part in template.split("{")[1:]
        for variable in part.partition("}")[0].removeprefix("?").split(",")
    ]
    named = {"limit": LIMITS.get(name, ""), "claim": "param/claim_id"}
    return {
        variable: named.get(variable, f"param/{variable}")
        for variable in (*found, *EXTRA_VARIABLES.get(name, ()))
    }
