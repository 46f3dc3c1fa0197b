# SPDX-License-Identifier: Apache-2.0
"""Facts about the quotas of projects that a registry keeps."""

from collections.abc import Callable

import pytest

from tests.contract.concurrency import together
from tests.contract.isolation import HOSTILE, STORABLE
from zaqar.storage.registry import Registry

PROJECTS = ["", "-", "A", "B", "a", "a-", "aa", "b", "é", "☃", "\uffff", "😀"]


class ProjectQuotaContract:
    def test_a_project_has_no_quota_at_first(self, registry: Registry) -> None:
        assert registry.get_quota("p") == b""
        assert registry.list_quotas(limit=9) == []

    def test_a_quota_comes_back_byte_for_byte(self, registry: Registry) -> None:
        document = bytes(range(256))

        registry.set_quota("p", document)

        assert registry.get_quota("p") == document
        assert registry.list_quotas(limit=9) == [("p", document)]
        assert registry.get_quota("q") == b""

    def test_a_quota_is_replaced_whole(self, registry: Registry) -> None:
        registry.set_quota("p", b"long before")

        registry.set_quota("p", b"new")
        registry.set_quota("p", b"new")

        assert registry.get_quota("p") == b"new"
        assert registry.list_quotas(limit=9) == [("p", b"new")]

    def test_an_empty_quota_is_none(self, registry: Registry) -> None:
        registry.set_quota("p", b"old")
        registry.set_quota("q", b"other")

        for _ in range(2):
            registry.set_quota("p", b"")

        assert registry.get_quota("p") == b""
        assert registry.list_quotas(limit=9) == [("q", b"other")]

    def test_projects_are_listed_in_byte_order(self, registry: Registry) -> None:
        for project in reversed(PROJECTS):
            registry.set_quota(project, project.encode() + b"!")

        found = registry.list_quotas(limit=100)

        assert found == [(each, each.encode() + b"!") for each in PROJECTS]
        assert registry.list_quotas(marker="aa", limit=2) == found[7:9]
        assert registry.list_quotas(marker="aaa", limit=1) == found[7:8]
        assert registry.list_quotas(marker="😀", limit=9) == []

    def test_thousand_projects_are_listed(self, registry: Registry) -> None:
        expected = [(f"project-{number:04}", b"{}") for number in range(1000)]
        together(
            8, lambda part: [registry.set_quota(*each) for each in expected[part::8]]
        )

        assert registry.list_quotas(limit=2000) == expected
        assert registry.list_quotas(marker="project-0497", limit=502) == expected[498:]

    @pytest.mark.parametrize(
        "text", [*STORABLE, *HOSTILE], ids=range(len(STORABLE) + len(HOSTILE))
    )
    def test_any_text_names_a_project(self, registry: Registry, text: str) -> None:
        registry.set_quota(text, b"mine")
        registry.set_quota(f"{text} ", b"theirs")

        assert registry.get_quota(text) == b"mine"
        listed = registry.list_quotas(limit=9)
        assert listed == [(text, b"mine"), (f"{text} ", b"theirs")]
        registry.set_quota(text, b"")
        assert registry.list_quotas(limit=9) == listed[1:]

    def test_another_handle_sees_a_quota_at_once(
        self, open_registry: Callable[[], Registry]
    ) -> None:
        one, two = open_registry(), open_registry()

        one.set_quota("p", b"1")

        assert two.get_quota("p") == b"1"
        two.set_quota("p", b"")
        assert one.get_quota("p") == b""
