"""A `git` that does something first: counts its calls, loses a race, dies half-way."""

import os
import shutil
from pathlib import Path

from tests.forges.remote import clean_environ

_GIT = shutil.which("git") or "git"


def wrap_git(home: Path, script: str) -> dict[str, str]:
    """An environment whose `git` runs the shell `script` and then the real one.

    In the script `$1` is git's command; each call is first noted in `home/calls`.
    """
    place = home / "bin"
    place.mkdir()
    program = place / "git"
    program.write_text(
        f'#!/bin/sh\necho "$1" >> {home}/calls\n'
        f'PATH={os.environ["PATH"]}\n{script}\nexec {_GIT} "$@"\n'
    )
    program.chmod(0o755)
    environ = clean_environ(home)
    return environ | {"PATH": f"{place}:{environ['PATH']}"}


def calls(home: Path) -> list[str]:
    noted = home / "calls"
    return noted.read_text().split() if noted.exists() else []
