"""A real remote, a work tree in which people work, and a forge that reads the remote."""

from pathlib import Path

import pytest

from agent_fleet.forges.git import GitForge
from tests.forges.remote import Remote, clean_environ


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote.make(tmp_path)


@pytest.fixture
def forge(tmp_path: Path) -> GitForge:
    return GitForge(tmp_path / "mirrors", environ=clean_environ(tmp_path))
