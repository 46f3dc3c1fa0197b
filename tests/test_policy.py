# SPDX-License-Identifier: Apache-2.0
"""Facts of the policy: defaults, overrides, and who counts as an administrator."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zaqar import conf
from zaqar.errors import ConfigurationError, NotAuthorized
from zaqar.model import Context
from zaqar.policy import BY_ROLES, OPEN, READER, RULES, Policy, list_rules
from zaqar.policy import MEMBER as WRITER

MEMBER = Context("p1", "c" * 32, ("member",))
ADMIN = Context("p1", "c" * 32, ("member", "admin"))
NOBODY = Context("p1", "c" * 32)

MakePolicy = Callable[..., Policy]


@pytest.fixture
def make_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePolicy:
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(defaults: str = "auto", **rules: str) -> Policy:
        policy = tmp_path / "policy.yaml"
        # JSON is YAML.
        policy.write_text(
            json.dumps({name.replace("__", ":"): rule for name, rule in rules.items()})
        )
        config = tmp_path / "zaqar.conf"
        config.write_text(
            f"[DEFAULT]\npolicy_defaults = {defaults}\n"
            f"[oslo_policy]\npolicy_file = {policy}\n"
        )
        return Policy(conf.load(["--config-file", str(config)]).config)

    return make


@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule] == OPEN])
def test_tenants_may_use_queues_messages_and_claims(
    make_policy: MakePolicy, rule: str
) -> None:
    make_policy().check(rule, NOBODY)


def test_health_is_for_administrators(make_policy: MakePolicy) -> None:
    policy = make_policy()

    policy.check("health:get", ADMIN)
    for context in (MEMBER, NOBODY):
        with pytest.raises(NotAuthorized, match="health:get"):
            policy.check("health:get", context)


def test_a_rule_of_the_file_overrides_the_default(make_policy: MakePolicy) -> None:
    policy = make_policy(queues__create="role:creator", health__get="")

    policy.check("health:get", NOBODY)
    policy.check("queues:create", Context("p1", "c" * 32, ("creator",)))
    with pytest.raises(NotAuthorized, match="queues:create"):
        policy.check("queues:create", MEMBER)


def test_a_rule_may_refuse_everybody(make_policy: MakePolicy) -> None:
    with pytest.raises(NotAuthorized):
        make_policy(messages__create="!").check("messages:create", ADMIN)


def test_a_rule_may_name_another(make_policy: MakePolicy) -> None:
    policy = make_policy(queues__delete="rule:context_is_admin")

    policy.check("queues:delete", ADMIN)
    with pytest.raises(NotAuthorized):
        policy.check("queues:delete", MEMBER)


def test_rules_are_listed_once() -> None:
    names = [rule.name for rule in list_rules()]

    assert len(names) == len(set(names))
    assert set(RULES) < set(names)


def test_rules_that_do_not_exist_are_refused_by_name(make_policy: MakePolicy) -> None:
    with pytest.raises(ConfigurationError, match="queue:create"):
        make_policy(**{"queue:create": "role:creator"})


def test_rules_stay_as_they_were_at_the_start(
    make_policy: MakePolicy, tmp_path: Path
) -> None:
    policy = make_policy(queues__create="role:creator")
    make_policy(queues__create="", queues__delete="!", health__get="")
    # What has the same time could pass for the same file.
    later = time.time() + 100
    os.utime(tmp_path / "policy.yaml", (later, later))

    for _ in range(2):
        policy.check("queues:delete", MEMBER)
        for rule in ("queues:create", "health:get"):
            with pytest.raises(NotAuthorized, match=rule):
                policy.check(rule, MEMBER)


def test_roles_decide_with_keystone(make_policy: MakePolicy) -> None:
    policy = make_policy(defaults="roles")

    reader, member, admin = (
        Context("p1", "c" * 32, (role,)) for role in ("reader", "member", "admin")
    )
    for rule in BY_ROLES:
        policy.check(rule, admin)
        for context, allowed in (
            (NOBODY, (OPEN,)),
            (reader, (OPEN, READER)),
            (member, (OPEN, READER, WRITER)),
        ):
            if BY_ROLES[rule] in allowed:
                policy.check(rule, context)
            else:
                with pytest.raises(NotAuthorized, match=rule):
                    policy.check(rule, context)


def test_owner_is_asked_about_what_lies_in_projects(make_policy: MakePolicy) -> None:
    policy = make_policy(
        queues__get="rule:admin_or_owner", pools__get="rule:admin_or_owner"
    )

    policy.check("queues:get", MEMBER)
    policy.check("pools:get", ADMIN)
    with pytest.raises(NotAuthorized, match="pools:get"):
        policy.check("pools:get", MEMBER)
