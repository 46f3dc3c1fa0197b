# SPDX-License-Identifier: Apache-2.0
"""Who may do what: the rules of oslo.policy and their defaults."""

from functools import lru_cache
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from zaqar.errors import ConfigurationError, NotAuthorized
from zaqar.model import Context

OPEN = ""
ADMIN = "role:admin"
READER = "rule:project_reader"
MEMBER = "rule:project_member"

# Rule: default by roles. What roles imply is in the aliases, so that it holds for a
# Keystone that implies none.
BY_ROLES = {
    "queues:get_all": READER,
    "queues:create": MEMBER,
    "queues:get": READER,
    "queues:delete": MEMBER,
    "queues:update": MEMBER,
    "queues:stats": READER,
    "queues:share": MEMBER,
    "queues:purge": MEMBER,
    "messages:get_all": READER,
    "messages:create": MEMBER,
    "messages:get": READER,
    "messages:delete": MEMBER,
    "messages:delete_all": MEMBER,
    "claims:create": MEMBER,
    "claims:get": READER,
    "claims:delete": MEMBER,
    "claims:update": MEMBER,
    "subscription:get_all": READER,
    "subscription:create": MEMBER,
    "subscription:get": READER,
    "subscription:delete": MEMBER,
    "subscription:update": MEMBER,
    "subscription:confirm": MEMBER,
    "topics:get_all": READER,
    "topics:create": MEMBER,
    "topics:get": READER,
    "topics:delete": MEMBER,
    "topics:update": MEMBER,
    "topics:stats": READER,
    "topics:purge": MEMBER,
    "ping:get": OPEN,
    "flavors:get_all": READER,
    "flavors:get": READER,
    "pools:get_all": ADMIN,
    "pools:create": ADMIN,
    "pools:get": ADMIN,
    "pools:delete": ADMIN,
    "pools:update": ADMIN,
    "flavors:create": ADMIN,
    "flavors:update": ADMIN,
    "flavors:delete": ADMIN,
    "health:get": ADMIN,
}
# Rule: default without Keystone (contract: policies).
RULES = {name: ADMIN if of == ADMIN else OPEN for name, of in BY_ROLES.items()}
# These belong to no project.
UNOWNED = ("pools:", "health:", "ping:")

ALIASES = {
    "context_is_admin": "role:admin",
    "admin_or_owner": "is_admin:True or project_id:%(project_id)s",
    "project_member": "(role:member or role:admin) and project_id:%(project_id)s",
    "project_reader": "(role:reader or role:member or role:admin) "
    "and project_id:%(project_id)s",
}

# Decisions that are remembered.
MAX_DECISIONS = 10_000


def list_rules() -> list[Any]:
    """List all rules, for the generator of the sample file."""
    return [
        policy.RuleDefault(
            name,
            check,
            description=f"By roles: {BY_ROLES[name]}"
            if BY_ROLES.get(name, check) != check
            else None,
        )
        for name, check in {**ALIASES, **RULES}.items()
    ]


def defaults(config: Any) -> dict[str, str]:
    """Return the rules that hold unless the policy file says otherwise."""
    chosen = config.policy_defaults
    if chosen == "auto":
        chosen = "roles" if config.auth_strategy else "open"
    return {**ALIASES, **(BY_ROLES if chosen == "roles" else RULES)}


class Policy:
    """The rules in force; read from the policy file once, at start."""

    def __init__(self, config: Any) -> None:
        """Read the rules. Raises ConfigurationError."""
        self._enforcer = policy.Enforcer(config)
        self._enforcer.register_defaults(
            [policy.RuleDefault(*rule) for rule in defaults(config).items()]
        )
        try:
            self._enforcer.load_rules()
        except (ValueError, TypeError, AttributeError, OSError, cfg.Error) as error:
            # The library hands on what its parser says, in several lines, and stumbles
            # over documents that hold no rules.
            reason = " ".join(str(error).split())
            raise ConfigurationError(f"The policy cannot be read: {reason}.") from None
        unknown = set(self._enforcer.file_rules) - set(RULES) - set(ALIASES)
        if unknown:
            names = ", ".join(sorted(map(str, unknown)))
            raise ConfigurationError(
                f"The policy names rules that do not exist: {names}."
            )
        # The rules hold until the next start, the open ones and the closed ones alike.
        self._enforcer.use_conf = False
        # PERF: a rule that is open to everyone is not asked: 30 µs saved a request.
        self._closed = {
            name for name in RULES if str(self._enforcer.rules[name]) != "@"
        }
        # PERF: 30 µs saved a request; a decision rests on nothing but what it is
        # remembered by, unless another server is asked for it.
        self._allows = self._decide
        if not any("http" in str(rule) for rule in self._enforcer.rules.values()):
            self._allows = lru_cache(MAX_DECISIONS)(self._decide)

    def check(self, rule: str, context: Context) -> None:
        """Raise NotAuthorized if the rule refuses."""
        if rule not in self._closed or context.granted:
            return
        if not self._allows(rule, context.project, context.roles):
            raise NotAuthorized(rule)

    def _decide(self, rule: str, project: str, roles: tuple[str, ...]) -> bool:
        credentials = {
            "roles": list(roles),
            "project_id": project,
            "is_admin": "admin" in roles,
        }
        # Whatever is asked for lies in the project that asks: its keys say so.
        target = {} if rule.startswith(UNOWNED) else {"project_id": project}
        return bool(self._enforcer.enforce(rule, target, credentials))
