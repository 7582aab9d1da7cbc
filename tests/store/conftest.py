import pytest

from tests.support.stores import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every test that names it runs on both engines."""
    name: str = request.param
    return name
