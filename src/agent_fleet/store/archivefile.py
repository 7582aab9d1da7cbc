"""A backup's file: gzip of JSON lines: a header, one line per row, and an end that vouches for all.

The end holds the number of rows of each table and the SHA-256 of every byte before it, so a file
that was cut off or changed is told before anything is read from it. It holds hashes of tokens and
the logs: it is its owner's alone (0600), and stands under its name only once it is whole.
"""

import gzip
import hashlib
import os
import secrets
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import msgspec

from agent_fleet.core.errors import InvalidInput, Unavailable

T = TypeVar("T")

VERSION = 1
# A log's chunk is the longest a line can be; nothing that writes chunks comes near this.
_LONGEST_LINE = 256 * 1024 * 1024


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. `schema` is the revision of the tables, `last_task` the last number given."""

    format: Literal["agent-fleet backup"] = "agent-fleet backup"
    version: int = VERSION
    schema: str
    made_at: datetime
    last_task: int


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row, its values as they are stored; bytes are in base64."""

    table: str
    row: dict[str, Any]


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    rows: dict[str, int]
    sha256: str


class Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        self._digest = hashlib.sha256()
        self._rows: Counter[str] = Counter()

    def header(self, header: Header) -> None:
        self._line(header)

    def row(self, row: Row) -> None:
        self._line(row)
        self._rows[row.table] += 1

    def end(self) -> End:
        end = End(dict(self._rows), self._digest.hexdigest())
        self._line(end)
        self._gzip.close()
        return end

    def _line(self, value: msgspec.Struct) -> None:
        line = msgspec.json.encode(value) + b"\n"
        self._digest.update(line)
        self._gzip.write(line)


@contextmanager
def written(path: Path) -> Generator[Writer]:
    """A writer, whose file takes the name `path` on leaving; after an error there is no file.

    Raises InvalidInput if there can be no such file, Unavailable if writing it fails half-way.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            str(path),
            f"cannot be written: {error.strerror}",
            remedy="name a file in a directory that exists and that this user may write",
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Writer(file)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def checked(self) -> tuple[Header, End]:
        """Reads all of it; InvalidInput if it is not a whole backup that this version can read."""
        lines = self._lines()
        first = next(lines, b"")
        header = self._header(first)
        digest, rows, end = hashlib.sha256(first), Counter[str](), None
        for line in lines:
            if end is not None:
                raise self._damaged("there is something behind its end")
            if line.startswith(b'{"table":'):
                digest.update(line)
                rows[self._decoded(line, Row).table] += 1
            else:
                end = self._decoded(line, End)
        if end is None:
            raise self._damaged("it was cut off")
        if end != End(dict(rows), digest.hexdigest()):
            raise self._damaged("its contents are not those that were written")
        return header, end

    def rows(self) -> Iterator[tuple[Row, int]]:
        """Each row of a file that was checked, with the bytes of its line."""
        for line in self._lines():
            if line.startswith(b'{"table":'):
                yield self._decoded(line, Row), len(line)

    def _header(self, line: bytes) -> Header:
        version = self._decoded(line, dict[str, Any]).get("version")
        if isinstance(version, int) and version > VERSION:
            raise InvalidInput(
                str(self._path),
                f"is a backup of the format {version}, and {VERSION} is the newest known",
                remedy="restore it with the version that wrote it, or a newer one",
            )
        return self._decoded(line, Header)

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self._path, "rb") as file:
                while line := file.readline(_LONGEST_LINE):
                    yield line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise InvalidInput(
                str(self._path),
                f"cannot be read: {error.strerror}",
                remedy="name a file that `fleet backup` wrote",
            ) from error

    def _decoded(self, line: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, how: str) -> InvalidInput:
        return InvalidInput(
            str(self._path),
            f"is no whole backup: {how}",
            remedy="take another copy of it; nothing was restored",
        )
