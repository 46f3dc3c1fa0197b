# SPDX-License-Identifier: Apache-2.0
"""A deployment with pools as the operator's command sees it: one folder, one file."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from tests.redis_servers import RedisServer, own_redis
from tests.servers import Options, merge, render
from zaqar import conf, directory, stores
from zaqar.conf import Settings
from zaqar.directory import Directory
from zaqar.manage.cli import main
from zaqar.model import Binding, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.registry import Registry

__all__ = ["own_redis"]


@dataclass
class Done:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Deployment:
    """A configuration in `folder`, and the command with it."""

    def __init__(
        self,
        folder: Path,
        options: Options,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir(mode=0o700)
        self._capture = capture
        self._options = merge(
            {
                "DEFAULT": {"pooling": True},
                "drivers:management_store:sqlite": {
                    "uri": f"sqlite:///{self.data}/registry.db"
                },
                "drivers:message_store:sqlite": {
                    "uri": f"sqlite:///{self.data}/default.db"
                },
            },
            options,
        )
        self.file = folder / "zaqar.conf"
        self.configure({})

    def configure(self, options: Options) -> None:
        self.file.write_text(render(merge(self._options, options)))

    def run(self, *words: str) -> Done:
        """Run the command in this process, as its entry point does."""
        self._capture.readouterr()
        try:
            code = main(["--config-file", str(self.file), *words])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self._capture.readouterr()
        assert "Traceback" not in out + err
        return Done(code, out, err)

    def json(self, *words: str) -> Any:
        """Run a command that has to succeed; return its document."""
        done = self.run(*words, "--format", "json")
        assert done.code == 0, done.err
        return done.document

    def doctor(self) -> dict[str, list[tuple[str, str]]]:
        """Return what the doctor found by subject: levels and problems."""
        found: dict[str, list[tuple[str, str]]] = {}
        done = self.run("doctor", "--format", "json")
        document = done.document
        assert done.code == int(document["errors"] > 0)
        for each in document["findings"]:
            assert each["mend"] or each["level"] == "ok"
            found.setdefault(each["subject"], []).append(
                (each["level"], each["problem"])
            )
        return found

    @property
    def settings(self) -> Settings:
        return conf.load(["--config-file", str(self.file)])

    def registry(self) -> Registry:
        return stores.open_registry(conf.management_store(self.settings))

    def store(self, uri: str) -> Store:
        """Open the store of a pool."""
        settings = self.settings
        return stores.open_store(
            conf.pool_store(settings.config, uri, {}, settings.data_folder)
        )

    def change(self, step: Callable[[Directory], Directory]) -> None:
        """Write a directory that no command would make."""
        with closing(self.registry()) as registry:
            document, version = registry.read_directory()
            changed = directory.write(step(directory.read(document)))
            registry.write_directory(changed, uuid4().hex, expect=version)

    def put(self, uri: str, project: str, *names: str) -> None:
        """Make queues in the store of a pool; the map does not know them."""
        with closing(self.store(uri)) as store:
            for name in names:
                store.put_queue(
                    QueueKey(project, name), {}, delays=False, revision="r", now=1.0
                )

    def bind(self, pool: str, project: str, *names: str) -> None:
        with closing(self.registry()) as registry:
            document, _ = registry.read_directory()
            id = directory.read(document).pool(pool).id
            for name in names:
                binding = Binding(id, uuid4().hex)
                registry.bind_queue(QueueKey(project, name), binding, expect=None)


@pytest.fixture
def deployment(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Deployment:
    """Pools whose registry is a file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return Deployment(tmp_path, {}, capsys)


def registry_options(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Any]]:
    """Yield the options of a registry of its own on the store that the test names."""
    name = request.param
    if name == "sqlite":
        yield {}
    elif name == "redis":
        pytest.importorskip("redis")
        server: RedisServer = request.getfixturevalue("own_redis")
        yield {"uri": server.uri}
    else:
        uri, database = request.getfixturevalue("mongo_uri"), f"z{uuid4().hex[:8]}"
        yield {"uri": uri, "database": database}
        with pymongo.MongoClient(uri) as client:
            client.drop_database(database)


@pytest.fixture(params=["sqlite", "redis", "mongodb"])
def each(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    """Pools whose registry is on each of the stores."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for options in registry_options(request):
        driver = request.param
        chosen = {
            "drivers": {"management_store": driver},
            f"drivers:management_store:{driver}": options,
        }
        yield Deployment(tmp_path, chosen, capsys)
