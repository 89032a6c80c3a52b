"""Where the emulator keeps its state: documents by id in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.errors import not_found

Document = dict[str, Any]


class Store:
    """Documents by id; ids compare without case, as ARM's do. Every write is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS documents"
            " (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL);"
            "CREATE INDEX IF NOT EXISTS by_type ON documents (type, id);"
        )
        self._depth = 0

    def get(self, id: str) -> Document | None:
        """The document, or None."""
        row = self._db.execute("SELECT body FROM documents WHERE id = ?", (id.lower(),)).fetchone()
        return json.loads(row[0]) if row else None

    def need(self, id: str) -> Document:
        """The document; Azure's 404 where there is none."""
        document = self.get(id)
        if document is None:
            raise not_found(id)
        return document

    def exists(self, id: str) -> bool:
        return self._db.execute("SELECT 1 FROM documents WHERE id = ?", (id.lower(),)).fetchone() is not None

    def put(self, id: str, type: str, document: Document) -> Document:
        """Write the document, keeping its place in the order of creation."""
        self._db.execute(
            "INSERT INTO documents (id, type, body) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET type = excluded.type, body = excluded.body",
            (id.lower(), type, json.dumps(document)),
        )
        return document

    def delete(self, id: str) -> bool:
        """Remove one document; True if there was one."""
        return self._db.execute("DELETE FROM documents WHERE id = ?", (id.lower(),)).rowcount > 0

    def delete_under(self, prefix: str) -> int:
        """Remove a document and all below it; how many went."""
        low = prefix.lower().rstrip("/")
        return self._db.execute("DELETE FROM documents WHERE id = ? OR (id >= ? AND id < ?)", (low, low + "/", low + "0")).rowcount

    def list(self, type: str, under: str = "") -> list[Document]:
        """All documents of a type (below an id, if one is given), oldest first."""
        low = under.lower().rstrip("/")
        if low:
            rows = self._db.execute(
                "SELECT body FROM documents WHERE type = ? AND id >= ? AND id < ? ORDER BY seq", (type, low + "/", low + "0")
            )
        else:
            rows = self._db.execute("SELECT body FROM documents WHERE type = ? ORDER BY seq", (type,))
        return [json.loads(row[0]) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many documents there are of each type."""
        return dict(self._db.execute("SELECT type, count(*) FROM documents GROUP BY type ORDER BY type"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Group writes: all of them or none. Do not await inside."""
        self._depth += 1
        if self._depth == 1:
            self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._db.execute("ROLLBACK")
            raise
        else:
            if self._depth == 1:
                self._db.execute("COMMIT")
        finally:
            self._depth -= 1

    def close(self) -> None:
        self._db.close()
