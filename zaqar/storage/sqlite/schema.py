# SPDX-License-Identifier: Apache-2.0
"""The tables of the SQLite store, their versions, and how a connection is opened."""

import os
import sqlite3
from pathlib import Path

from zaqar.errors import ConfigurationError

# States of a message (storage/base.py draws how they follow each other).
READY, DELAYED, CLAIMED = 0, 1, 2

# `queues.wake` of a queue in which nothing waits for its time.
NEVER = 9e15

# One entry a version; what was released is never changed, only followed by another.
MIGRATIONS = (
    f"""
    -- The row that every operation reads and counts in, so kept small.
    -- `wake`: nothing in the queue expires, ends or becomes visible before it.
    CREATE TABLE queues (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        revision TEXT NOT NULL,
        delays INTEGER NOT NULL,
        last_seq INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        claimed INTEGER NOT NULL DEFAULT 0,
        wake REAL NOT NULL DEFAULT {NEVER!r}
    );
    CREATE UNIQUE INDEX queue_by_name ON queues (project, name);
    CREATE INDEX queue_by_wake ON queues (wake);

    CREATE TABLE metadata (
        queue INTEGER PRIMARY KEY,
        document TEXT NOT NULL
    );

    -- `visible`: the end of a delay that is not over; NULL otherwise.
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY,
        queue INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        state INTEGER NOT NULL,
        id TEXT NOT NULL,
        client TEXT NOT NULL,
        ttl INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        visible REAL,
        claim TEXT,
        claim_count INTEGER NOT NULL DEFAULT 0,
        checksum TEXT,
        origin TEXT,
        origin_claims INTEGER NOT NULL DEFAULT 0,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX message_by_id ON messages (queue, id);
    CREATE INDEX message_by_place ON messages (queue, state, seq);
    CREATE INDEX message_by_expiry ON messages (queue, expires);
    CREATE INDEX message_by_claim ON messages (queue, claim, seq)
        WHERE claim IS NOT NULL;
    CREATE INDEX message_by_origin ON messages (queue, seq)
        WHERE origin IS NOT NULL;
    CREATE INDEX message_by_delay ON messages (queue, visible)
        WHERE visible IS NOT NULL;

    CREATE TABLE claims (
        queue INTEGER NOT NULL,
        id TEXT NOT NULL,
        ttl INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (queue, id)
    ) WITHOUT ROWID;
    CREATE INDEX claim_by_expiry ON claims (queue, expires);

    -- Numbers of queues that are gone and whose messages the sweep still removes.
    CREATE TABLE garbage (queue INTEGER PRIMARY KEY);

    -- What a ping writes, to know that writing works.
    CREATE TABLE pulse (beats INTEGER NOT NULL);
    INSERT INTO pulse VALUES (0);
    """,
    """
    -- Pools and flavors: one row, whole. The version is empty before the first write.
    CREATE TABLE directory (document BLOB NOT NULL, version TEXT NOT NULL);
    INSERT INTO directory VALUES (x'', '');

    -- Which queue lives in which pool.
    CREATE TABLE bindings (
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        pool TEXT NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (project, name)
    ) WITHOUT ROWID;
    CREATE INDEX binding_by_pool ON bindings (pool);

    -- `moved`: 1 where the message came from another queue or store, NULL otherwise; so
    -- its place says nothing of its id's time.
    ALTER TABLE messages ADD COLUMN moved INTEGER;
    UPDATE messages SET moved = 1 WHERE origin IS NOT NULL;
    DROP INDEX message_by_origin;
    CREATE INDEX message_by_move ON messages (queue, seq) WHERE moved IS NOT NULL;
    """,
    f"""
    -- What a watched queue owes its subscribers; the tables below name it by
    -- its number, which stays when the queue gets another. `due`: the earliest instant
    -- of a notice or delivery. Until `held`, only the holder settles them.
    CREATE TABLE outboxes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        due REAL NOT NULL DEFAULT {NEVER!r},
        -- When the newest notice was written: those of slow clocks come behind it.
        last REAL NOT NULL DEFAULT 0,
        holder TEXT NOT NULL DEFAULT '',
        held REAL NOT NULL DEFAULT 0
    );
    CREATE INDEX outbox_by_due ON outboxes (due) WHERE due < {NEVER!r};
    ALTER TABLE queues ADD COLUMN outbox INTEGER;

    CREATE TABLE subscriptions (
        outbox INTEGER NOT NULL,
        id TEXT NOT NULL,
        subscriber TEXT NOT NULL,
        ttl INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        options TEXT NOT NULL,
        confirmed INTEGER NOT NULL,
        PRIMARY KEY (outbox, id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX subscription_by_subscriber
        ON subscriptions (outbox, subscriber);
    CREATE INDEX subscription_by_expiry ON subscriptions (expires);

    CREATE TABLE notices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        outbox INTEGER NOT NULL,
        due REAL NOT NULL,
        id TEXT NOT NULL,
        ttl INTEGER NOT NULL,
        delay INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX notice_by_id ON notices (outbox, id);
    CREATE INDEX notice_by_due ON notices (outbox, due, number);

    -- `due` is NULL of one that has failed for good.
    CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        outbox INTEGER NOT NULL,
        subscription TEXT NOT NULL,
        id TEXT NOT NULL,
        failures INTEGER NOT NULL,
        due REAL,
        ttl INTEGER NOT NULL,
        delay INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX delivery_by_id ON deliveries (outbox, subscription, id);
    CREATE INDEX delivery_by_due ON deliveries (outbox, subscription, due, number)
        WHERE due IS NOT NULL;
    CREATE INDEX delivery_by_instant ON deliveries (outbox, due)
        WHERE due IS NOT NULL;
    CREATE INDEX delivery_untried ON deliveries (outbox, subscription)
        WHERE failures = 0 AND due IS NOT NULL;
    CREATE INDEX delivery_failed ON deliveries (outbox, subscription, id)
        WHERE due IS NULL;

    -- The last attempts of a subscription, newest last, as one JSON document.
    CREATE TABLE attempts (
        outbox INTEGER NOT NULL,
        subscription TEXT NOT NULL,
        document BLOB NOT NULL,
        PRIMARY KEY (outbox, subscription)
    ) WITHOUT ROWID;

    -- Numbers of outboxes that are gone and that the sweep still empties.
    CREATE TABLE old_outboxes (outbox INTEGER PRIMARY KEY);
    """,
    """
    -- Projects with quotas of their own.
    CREATE TABLE quotas (
        project TEXT PRIMARY KEY,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
)


def connect(path: str, *, synchronous: str, busy_timeout: float) -> sqlite3.Connection:
    """Open the file for use by several threads, one at a time, in autocommit mode."""
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # PERF: a checkpoint copies each page once however often it was written since the
    # last one; at the default of 1000 pages busy tables are copied 4 times as often.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    return connection


def prepare(path: str, connection: sqlite3.Connection) -> None:
    """Bring the file to WAL mode and to the newest version.

    The caller holds the lock of the file: SQLite answers "locked" at once, whatever the
    time-out, when two connections switch a new file to WAL together.
    Raises ConfigurationError if a newer release wrote the file.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"{path} cannot keep a write-ahead log; put it on a local disk."
        )
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"{path} has schema version {version}; this release knows versions up to "
            f"{len(MIGRATIONS)}. Start the release that wrote it, or name another file."
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
        )


def make_folder(path: str) -> None:
    """Create the folder of the file, for its owner only."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_file(path: str) -> None:
    """Create the file, if it is absent, for its owner only.

    The caller holds the lock of the file. SQLite gives the files beside it the same
    rights. NOTE: a file that exists is left alone, for closing it would drop the locks
    that this process has on it.
    """
    if not os.path.exists(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
