# SPDX-License-Identifier: Apache-2.0
"""Starts a real Keystone for tests, with users of every role in two projects.

It is the one that the package `keystone` brings, on SQLite, under gunicorn. Where that
is not installed tests are skipped, unless `ZAQAR_TEST_REQUIRE` names `keystone`.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import Options, free_port, merge, render

START_SECONDS = 60
PASSWORD = "pw"
PROJECTS = ("blue", "red")
ROLES = ("admin", "member", "reader")


class KeystoneServer:
    """A Keystone in `folder`; it can be killed and started again.

    The users are named `<project>-<role>`; `zaqar` is the one of the service.
    """

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self._config = folder / "keystone.conf"
        self._config.write_text(
            render(
                merge(
                    {
                        "DEFAULT": {"log_file": folder / "keystone.log"},
                        "database": {"connection": f"sqlite:///{folder}/keystone.db"},
                        "fernet_tokens": {"key_repository": folder / "fernet"},
                        "fernet_receipts": {"key_repository": folder / "fernet"},
                        "credential": {"key_repository": folder / "credential"},
                        # Without it, each token's roles are looked up a dozen times.
                        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
                        "identity": {"password_hash_rounds": 4},
                    },
                    options or {},
                )
            )
        )
        self.start()
        self.ids: dict[str, str] = {}
        self._populate()

    def start(self) -> None:
        program = Path(__file__).with_name("keystone_program.py")
        with (self.folder / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", str(program)),
                    *(str(self._config), str(self.port), PASSWORD),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith("COVERAGE")
                },
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise AssertionError((self.folder / "out.log").read_text()[-3000:])
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def token(self, user: str, project: str | None) -> str:
        """Return a token of a user, scoped to a project if one is named."""
        domain = {"id": "default"}
        who = {"name": user, "domain": domain, "password": PASSWORD}
        auth: dict[str, Any] = {
            "identity": {"methods": ["password"], "password": {"user": who}}
        }
        if project is not None:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        answer = requests.post(
            f"{self.url}/auth/tokens", json={"auth": auth}, timeout=20
        )
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def revoke(self, token: str) -> None:
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        requests.delete(
            f"{self.url}/auth/tokens", headers=headers, timeout=20
        ).raise_for_status()

    def options(self, **options: object) -> Options:
        """Return what a service needs to ask this Keystone."""
        return {
            "DEFAULT": {"auth_strategy": "keystone"},
            "keystone_authtoken": {
                # It says how long answers are waited for too: on a busy machine, long.
                "http_connect_timeout": 60,
                "auth_type": "password",
                "auth_url": self.url,
                "www_authenticate_uri": self.url,
                "username": "zaqar",
                "password": PASSWORD,
                "user_domain_id": "default",
                "project_name": "service",
                "project_domain_id": "default",
                **options,
            },
        }

    @contextmanager
    def catalog(self, kind: str, url: str) -> Iterator[None]:
        """Have a service in the catalog meanwhile, at a public endpoint."""
        service = self._make("service", type=kind, name=kind)
        self._make("endpoint", service_id=service, interface="public", url=url)
        try:
            yield
        finally:
            self._ask("DELETE", f"services/{service}")

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        answer = requests.request(
            method,
            f"{self.url}/{path}",
            json=document,
            headers={"X-Auth-Token": self._admin},
            timeout=20,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _make(self, noun: str, **values: object) -> str:
        identifier: str = self._ask("POST", f"{noun}s", {noun: values})[noun]["id"]
        return identifier

    def _populate(self) -> None:
        self._admin = self.token("admin", "admin")
        roles = {
            role["name"]: role["id"] for role in self._ask("GET", "roles")["roles"]
        }
        for project in (*PROJECTS, "service"):
            self.ids[project] = self._make("project", name=project, domain_id="default")
        users = [(f"{at}-{role}", at, role) for at in PROJECTS for role in ROLES]
        for name, project, role in [*users, ("zaqar", "service", "service")]:
            user = self._make("user", name=name, password=PASSWORD, domain_id="default")
            place = f"projects/{self.ids[project]}/users/{user}/roles/{roles[role]}"
            self._ask("PUT", place)


def new_keystone(folder: Path, options: Options | None = None) -> KeystoneServer:
    """Start one, with more options; skip the test, or fail, where there is none."""
    if importlib.util.find_spec("keystone") is None:
        absent = "The package keystone is not installed."
        if "keystone" in os.environ.get("ZAQAR_TEST_REQUIRE", ""):
            pytest.fail(absent)
        pytest.skip(absent)
    return KeystoneServer(folder, options)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneServer]:
    """The Keystone that the tests share; it is not to be stopped by them."""
    server = new_keystone(tmp_path_factory.mktemp("keystone"))
    yield server
    server.kill()
