"""Configuration files for tests."""

from collections.abc import Mapping
from pathlib import Path

from agent_fleet.config import Config, load
from agent_fleet.core.errors import InvalidInput


def write(folder: Path, text: str) -> Path:
    file = folder / "fleet.toml"
    file.write_text(text)
    return file


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load(write(folder, text), environ=environ or {})


def errors(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """All that is said about the file, one text per error."""
    try:
        read(folder, text, environ)
    except InvalidInput as first:
        return [first.message, *getattr(first, "__notes__", [])]
    return []


def write_secret(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path
