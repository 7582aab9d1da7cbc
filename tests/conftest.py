"""How the tests run: coroutines, Hypothesis profiles, and which tests may ask for parts."""

import asyncio
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import hypothesis
import pytest

from tests.support import parts, postgres

# No deadline: other work on the machine makes an example slow, not wrong. In CI the examples
# follow from the test alone, so that red means that the change is to blame.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def _run(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        async def test() -> None:
            await function(*args, **kwargs)

        asyncio.run(test())

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in an event loop of its own; a Hypothesis test, one per example."""
    if hypothesis.is_hypothesis_test(pyfuncitem.obj):
        handle = pyfuncitem.obj.hypothesis
        if inspect.iscoroutinefunction(handle.inner_test):
            handle.inner_test = _run(handle.inner_test)
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    _run(pyfuncitem.obj)(**arguments)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tell `require` whether this test says by its marker that it needs parts."""
    with parts.running_test(marked=item.get_closest_marker("parts") is not None):
        return (yield)


def pytest_sessionfinish() -> None:
    """Stop the PostgreSQL server of this session, if a test asked for one."""
    postgres.stop()
