from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import ENGINES, database


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every test that names it runs on both engines."""
    name: str = request.param
    return name


@pytest.fixture
def url(engine: str, tmp_path: Path) -> Iterator[str]:
    """The address of one empty database, for all examples of a property."""
    with database(engine, tmp_path) as address:
        yield address
