# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: transport, operations, storage, then model and errors."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "zaqar"

# What each layer must not import; the longest name that fits a module rules.
# Modules at the top of the tree that are not named may be used by every layer and use
# none.
ABOVE_STORAGE = [
    "zaqar.operations",
    "zaqar.transport",
    "zaqar.service",
    "zaqar.stores",
]
ENTRIES = ["zaqar.cli", "zaqar.server", "zaqar.manage", "zaqar.bench"]
HTTP = ["falcon", "gunicorn", "granian", "wsgiref", "http"]
FORBIDDEN: dict[str, list[str]] = {
    "zaqar": [*ABOVE_STORAGE, "zaqar.storage", *ENTRIES, *HTTP],
    "zaqar.storage": [*ABOVE_STORAGE, *ENTRIES, *HTTP, "oslo_config", "oslo_policy"],
    # What delivers stands above the operations, what it sends and how below them.
    "zaqar.notification.dispatcher": ["zaqar.transport", *ENTRIES, *HTTP],
    "zaqar.operations": ["zaqar.transport", *ENTRIES, *HTTP, "oslo_config"],
    "zaqar.service": ["zaqar.transport", *ENTRIES, *HTTP],
    "zaqar.stores": ["zaqar.transport", "zaqar.service", *ENTRIES, *HTTP],
    "zaqar.transport": [*ENTRIES],
    # The WSGI entry point: what servers load, above everything that it serves.
    "zaqar.transport.wsgi.app": ["zaqar.cli", "zaqar.manage", "zaqar.bench"],
    "zaqar.server": ["zaqar.cli", "zaqar.manage", "zaqar.bench"],
    "zaqar.cli": ["zaqar.manage", "zaqar.bench"],
    "zaqar.manage": ["zaqar.cli", "zaqar.transport", "zaqar.bench"],
    # The load tool is a client: it knows nothing of what it measures.
    "zaqar.bench": [
        *ABOVE_STORAGE,
        "zaqar.storage",
        "zaqar.server",
        "zaqar.manage",
        "zaqar.cli",
    ],
}

# The package of each store, and the libraries that nobody else imports.
STORES = {
    "zaqar.storage.sqlite": ["sqlite3"],
    "zaqar.storage.redis": ["redis", "hiredis"],
    "zaqar.storage.mongodb": ["pymongo", "bson", "gridfs"],
}
# What a worker of REST loads, and what checks whom its clients subscribe.
WORKER = """
import sys
import zaqar.server.gunicorn
import zaqar.transport.wsgi.build
from zaqar.notification import senders

for scheme in ("http", "https", "mailto", "trust+http", "trust+https"):
    senders.sender_of(scheme)
print(*sys.modules)
"""
# A mongod that is started to be measured has to be made a replica set.
STARTERS = {"zaqar.bench.mongod": "pymongo"}


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def imports(name: str, path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Return the full names that a module imports; the `lazy` ones are in functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _nodes(ast.parse(path.read_text()), lazy):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _nodes(tree: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        yield node
        if lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _nodes(node, lazy)


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer_of(name: str) -> str:
    return max((layer for layer in FORBIDDEN if is_below(name, layer)), key=len)


@pytest.mark.parametrize("name", modules())
def test_module_imports_nothing_from_above(name: str) -> None:
    forbidden = FORBIDDEN[layer_of(name)]

    wrong = {
        imported
        for imported in imports(name, modules()[name])
        if any(is_below(imported, each) for each in forbidden)
    }

    assert not wrong, f"{name} ({layer_of(name)}) must not import {sorted(wrong)}"


def test_nothing_imports_the_entry_points_of_the_service() -> None:
    entry = "zaqar.transport.wsgi.app"

    importing = {
        name
        for name, path in modules().items()
        if entry in set(imports(name, path)) and layer_of(name) != "zaqar.server"
    }

    assert not importing


@pytest.mark.parametrize("name", modules())
def test_only_a_store_imports_its_libraries(name: str) -> None:
    foreign = [
        library
        for package, libraries in STORES.items()
        for library in libraries
        if not is_below(name, package) and STARTERS.get(name) != library
    ]

    wrong = {
        imported
        for imported in imports(name, modules()[name])
        if any(is_below(imported, library) for library in foreign)
    }

    assert not wrong, f"{name} must not import {sorted(wrong)}"


@pytest.mark.parametrize("package", STORES)
def test_a_store_is_chosen_in_one_place_only(package: str) -> None:
    choosing = {
        name
        for name, path in modules().items()
        if not is_below(name, package)
        for imported in imports(name, path)
        if is_below(imported, package)
    }

    assert choosing == {"zaqar.stores"}


def test_stores_with_libraries_of_their_own_are_imported_when_chosen() -> None:
    eager = {
        imported
        for imported in imports("zaqar.stores", modules()["zaqar.stores"], lazy=False)
        if any(is_below(imported, package) for package in STORES)
    }

    assert not eager


def test_workers_do_without_the_client_of_deliveries() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", WORKER], check=True, capture_output=True, text=True
    ).stdout.split()

    assert "zaqar.notification.senders.webhook" in loaded
    assert not {"aiohttp", "zaqar.notification.client"} & set(loaded)


def test_relative_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("from . import a\nfrom ..b import c\nimport d.e\n")

    found = set(imports("zaqar.x.module", path))

    assert {"zaqar.x.a", "zaqar.b.c", "d.e"} <= found


def test_imports_in_functions_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("if 1:\n import a\nclass C:\n def f(self):\n  import b\n")

    assert set(imports("zaqar.module", path)) == {"a", "b"}
    assert set(imports("zaqar.module", path, lazy=False)) == {"a"}


def test_packages_are_at_most_three_levels_deep() -> None:
    deep = {name for name in modules() if name.count(".") > 4}

    assert not deep
