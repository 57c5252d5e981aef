"""Recorded responses in one SQLite file, each written whole or not at all, as JSON."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from requests_cache import CachedSession
from requests_cache.backends.base import BaseCache, BaseStorage
from requests_cache.models.response import CachedResponse
from requests_cache.serializers import json_serializer

from mmsearch_env.errors import BackendError, ConfigurationError
from mmsearch_env.web.exchanges import FAULT_STATUS
from mmsearch_env.web.forks import watch_forks
from mmsearch_env.web.keys import KEY_VERSION, METHODS

BUSY_TIMEOUT = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordedResponses(BaseStorage[str, CachedResponse]):
    """The responses by key, as a storage of requests-cache.

    The storage that comes with requests-cache takes an error while writing for success and waits for ever on a file
    that it may not write, so this is another one. It writes ahead (WAL) and syncs each response before it returns: a
    killed process loses none, and other processes may write at the same time. The file has no clock times in it.
    """

    def __init__(self, path: Path, *, read_only: bool, renew: bool) -> None:
        """Open the file at `path`.

        Args:
            path: the file.
            read_only: open what is there, and write nothing.
            renew: find nothing, so that all is asked anew, and replace what is there.

        Raises:
            ConfigurationError: if there is no such file to read, or it is no recording.
        """
        super().__init__(serializer=json_serializer)
        self._path = path
        self._read_only = read_only
        self._renew = renew
        self._closed = False
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        watch_forks(self)
        if read_only and not path.is_file():
            raise ConfigurationError(f"Expected a recording at {path}, got none. Record one with mode='new_episodes'.")
        try:
            self._open()
            version = self._rows("PRAGMA user_version")[0][0]
            if version == KEY_VERSION:
                self._rows("SELECT key, request, status, response FROM exchanges LIMIT 0")
        except (sqlite3.Error, BackendError) as error:
            self.close()
            raise ConfigurationError(f"Expected a recording at {path}, got: {error.__cause__ or error}.") from error
        if version != KEY_VERSION:
            self.close()
            raise ConfigurationError(
                f"Expected a recording of version {KEY_VERSION} at {path}, got version {version}. Record it anew."
            )

    def __getitem__(self, key: str) -> CachedResponse:
        """Return what is recorded under `key`, unless everything is to be asked anew."""
        if self._renew:
            raise KeyError(key)
        return self.read(key)

    def read(self, key: str) -> CachedResponse:
        """Return what is recorded under `key`.

        Raises:
            KeyError: if nothing is.
            BackendError: if it cannot be read.
        """
        rows = self._rows("SELECT response FROM exchanges WHERE key = ?", key)
        if not rows:
            raise KeyError(key)
        reason = "something else"
        try:
            response: object = json_serializer.loads(rows[0][0])
        except Exception as error:  # whatever the serializer makes of a damaged text
            reason = str(error)
        else:
            if isinstance(response, CachedResponse):
                response.cache_key = key
                return response
        raise BackendError(f"Expected a response under {key} in {self._path}, got {reason}. Record anew.")

    def __setitem__(self, key: str, response: CachedResponse) -> None:
        """Record `response`; when this returns it is on the disk."""
        response.created_at = _EPOCH
        response.elapsed = timedelta(0)
        description = (response.request.body or b"").decode()
        verb = "REPLACE" if self._renew else "IGNORE"
        self._rows(
            f"INSERT OR {verb} INTO exchanges (key, request, status, response) VALUES (?, ?, ?, ?)",
            key,
            description,
            response.status_code,
            json_serializer.dumps(response),
        )

    def __delitem__(self, key: str) -> None:
        """Forget what is recorded under `key`."""
        self._rows("DELETE FROM exchanges WHERE key = ?", key)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys, sorted."""
        return iter([row[0] for row in self._rows("SELECT key FROM exchanges ORDER BY key")])

    def __len__(self) -> int:
        """Return how many responses are recorded."""
        return int(self._rows("SELECT COUNT(*) FROM exchanges")[0][0])

    def requests(self) -> list[tuple[str, str]]:
        """Return the key and the description of each request, sorted by the descriptions."""
        return self._rows("SELECT key, request FROM exchanges ORDER BY request")

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._lock:
            if self._closed:
                raise BackendError(f"Expected an open recording, got {self._path}, which was closed. Open it again.")
            try:
                return self._open().execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise BackendError(f"Expected to use {self._path}, got: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open_to_read(self._path) if self._read_only else _open_to_write(self._path)
        return self._connection

    def before_fork(self) -> None:
        """Close the file until it is used again, in whichever process: SQLite's connections do not survive a fork."""
        self._lock.acquire()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def after_fork(self, child: bool) -> None:
        """Let the threads go on."""
        self._lock.release()

    def close(self) -> None:
        """Close the file; the last process to do so leaves one plain file."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                with contextlib.suppress(sqlite3.DatabaseError):  # others have it open, or it may not be written
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
                self._connection.close()
                self._connection = None


def open_session(responses: RecordedResponses, key: Callable[..., str]) -> CachedSession:
    """Return a session of requests-cache over `responses`, under the keys that `key` returns for a request."""
    cache = BaseCache()
    cache.responses = responses
    return CachedSession(
        backend=cache,
        key_fn=key,
        allowable_codes=range(100, FAULT_STATUS + 1),
        allowable_methods=METHODS,
        ignored_parameters=(),
        autoclose=False,
    )


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(target, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=uri)


def _open_to_write(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(str(path))
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.execute(
                "CREATE TABLE exchanges (key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, "
                "response TEXT NOT NULL)"
            )
            connection.execute(f"PRAGMA user_version = {KEY_VERSION}")
        connection.execute("COMMIT")
        write_ahead(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def write_ahead(connection: sqlite3.Connection) -> None:
    """Go over to WAL. SQLite turns away at once whom another is in the way of, so it is asked again for a while.

    Raises:
        sqlite3.OperationalError: if it cannot be done, or others are in the way for longer than `BUSY_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that may stand where nothing can be written."""
    address = path.resolve().as_uri()
    try:
        connection = _connect(f"{address}?mode=ro", uri=True)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError:
        if path.with_name(path.name + "-wal").exists():
            raise
        connection = _connect(f"{address}?immutable=1", uri=True)
    return connection
