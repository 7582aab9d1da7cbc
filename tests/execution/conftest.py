"""The machine under each shell that the scripts promise to run under."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parts import require
from tests.support.runs import Place, local_machine

SHELLS = [
    "sh",
    *(pytest.param(shell, marks=pytest.mark.parts) for shell in ("dash", "bash", "busybox")),
]


@pytest.fixture(params=SHELLS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    shell: str = request.param
    if shell != "sh":
        executable = require(shell)
        # busybox is a shell by the name it is called by.
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "sh").symlink_to(executable)
        shell = str(tmp_path / "bin" / "sh")
    place = Place(local_machine(shell), tmp_path)
    yield place
    asyncio.run(place.clean())
