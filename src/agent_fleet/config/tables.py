"""Read a table of the file into a value, and find everything that is wrong with it.

Each setting is converted by itself, so that one mistake does not hide the next and the path is
the one that stands in the file.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import TypeVar, cast, get_args

import msgspec

from agent_fleet.config.values import Between, Values, shown
from agent_fleet.core.errors import InvalidInput

T = TypeVar("T", bound=msgspec.Struct)
Table = Mapping[str, object]


class Problems:
    """What was found wrong so far, in the order of the file."""

    def __init__(self) -> None:
        self.found: list[InvalidInput] = []

    def add(self, path: str, message: str, *, remedy: str) -> None:
        self.found.append(InvalidInput(path, message, remedy=remedy))

    def raise_any(self) -> None:
        """Raise the first, with the others as its notes."""
        if not self.found:
            return
        first, *others = self.found
        for other in others:
            first.add_note(other.message)
        raise first


class Tables:
    """Reads tables with `values`, and reports to `problems`."""

    def __init__(self, values: Values, problems: Problems) -> None:
        self._values = values
        self._problems = problems

    def read(self, kind: type[T], table: object, *, path: str) -> T | None:
        """The value of the table at `path`; None if anything is wrong with it."""
        entries = self.entries(table, path=path)
        if entries is None:
            return None
        before = len(self._problems.found)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        self.refuse_unknown(entries, fields, path=path)
        read: dict[str, object] = {}
        for name, field in fields.items():
            if name in entries:
                read[name] = self._convert(entries[name], field.type, path=f"{path}.{name}")
            elif field.required:
                remedy = f"add {name}: {_describe(field.type)}"
                self._problems.add(f"{path}.{name}", "missing", remedy=remedy)
        return kind(**read) if len(self._problems.found) == before else None

    def entries(self, table: object, *, path: str) -> Table | None:
        """The table as a mapping; None, and a problem, if it is none."""
        if isinstance(table, dict):
            return cast("Table", table)
        self._problems.add(path, "not a table", remedy=f"write it as a section [{path}]")
        return None

    def refuse_unknown(self, table: Table, known: Collection[str], *, path: str) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                remedy = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
                whole = f"{path}.{quoted(key)}" if path else quoted(key)
                self._problems.add(whole, "unknown key", remedy=remedy)

    def _convert(self, value: object, kind: object, *, path: str) -> object:
        nested = _struct_of(kind)
        if nested is not None:
            return self.read(nested, value, path=path)
        try:
            made = msgspec.convert(value, kind, dec_hook=self._values.convert)
        except msgspec.ValidationError as error:
            said, _, at = str(error).partition(" - at `$")
            remedy = getattr(error.__cause__, "remedy", None) or _describe(kind)
            self._problems.add(path + at.rstrip("`"), _plain(said), remedy=remedy)
            return None
        bound = next((meta for meta in _annotations(kind) if isinstance(meta, Between)), None)
        if bound and not bound.least <= cast("float", made) <= bound.most:
            least, most = show_duration(bound.least), show_duration(bound.most)
            self._problems.add(
                path, f"{shown(value)} is out of range", remedy=f"write {least} to {most}"
            )
        return made


def quoted(key: str) -> str:
    """A key as TOML writes it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def show_duration(seconds: float) -> str:
    """As one would write it in the file: 1.5 hours are `1h30m`."""
    left = round(seconds * 1000)
    shown = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        shown += f"{count}{unit}" if count else ""
    return shown or "0s"


def _struct_of(kind: object) -> type[msgspec.Struct] | None:
    """The struct that a table is to become; None for a plain value."""
    inner = get_args(kind)[0] if _annotations(kind) else kind
    for option in (inner, *get_args(inner)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _annotations(kind: object) -> tuple[object, ...]:
    return getattr(kind, "__metadata__", ())


def _describe(kind: object) -> str:
    metas = (meta for meta in _annotations(kind) if isinstance(meta, msgspec.Meta))
    return next((meta.description for meta in metas if meta.description), "see the reference")


def _plain(said: str) -> str:
    """Msgspec's words without its type names' decoration."""
    return said.replace("`", "").replace("Expected", "expected", 1)
