# SPDX-License-Identifier: Apache-2.0
"""A connection that keeps what is asked of it, and how much work that is."""

import sqlite3
from typing import Any, ClassVar


class RecordingConnection(sqlite3.Connection):
    """Notes each statement with its values, and counts steps of SQLite's machine."""

    statements: ClassVar[list[tuple[str, Any]]] = []
    steps: ClassVar[int] = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_progress_handler(self._count, 10)

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        self.statements.append((sql, values))
        return super().execute(sql, values)

    @classmethod
    def reset(cls) -> None:
        cls.statements.clear()
        cls.steps = 0

    @classmethod
    def count_of(cls, word: str) -> int:
        return sum(sql.lstrip().startswith(word) for sql, _ in cls.statements)

    def _count(self) -> int:
        type(self).steps += 10
        return 0
