"""The composition root: what the configuration says, put together and run until told to stop.

A stop (SIGTERM, SIGINT) ends waiting polls, lets requests finish, and leaves the runs on the hosts
alive: the next start finds them again.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn

from agent_fleet.adapters import Adapter
from agent_fleet.clock import SystemClock
from agent_fleet.config import (
    Config,
    Listen,
    base_environment,
    named_environment,
    refuse_exposed,
)
from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.lifecycle import Backoff
from agent_fleet.core.model import Credentials
from agent_fleet.core.registry import Host
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.setting import Setting
from agent_fleet.execution.strays import end_strays
from agent_fleet.fleet import Fleet, RepoRules, Rules
from agent_fleet.forges.forge import Forge
from agent_fleet.forges.git import GitForge
from agent_fleet.loops.dispatcher import Dispatcher
from agent_fleet.loops.follower import Follower
from agent_fleet.loops.janitor import Janitor
from agent_fleet.loops.outbox import Outbox
from agent_fleet.loops.places import Place
from agent_fleet.loops.prober import Prober
from agent_fleet.loops.reconciler import Reconciler
from agent_fleet.loops.running import run_loops
from agent_fleet.loops.sweeper import Sweeper
from agent_fleet.store.store import Store
from agent_fleet.web.app import create_app

log = structlog.get_logger()

REQUESTS_END_S = 5
"""Seconds that requests under way have to end after a stop was asked for."""


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT. Raises InvalidInput, Conflict or Unavailable if it cannot.

    What can be known beforehand is: nothing is begun by a server that nobody will reach.
    """
    refuse_exposed(config)
    _check_tls(config)
    with _listening(config.server.listen) as sockets:
        make_state_dir(config)
        with _alone(config.server.state_dir):
            asyncio.run(_run(config, sockets))


@asynccontextmanager
async def opened(config: Config) -> AsyncGenerator[Fleet, None]:
    """The fleet of a configuration, without its loops and its server."""
    clock = SystemClock()
    make_state_dir(config)
    store = await Store.open(config.database_url, clock=clock)
    try:
        yield await Fleet.open(
            store, rules=make_rules(config), forges=make_forges(config), clock=clock
        )
    finally:
        await store.close()


def make_state_dir(config: Config) -> None:
    """The state directory, for this user alone. Raises InvalidInput where there can be none."""
    state_dir = config.server.state_dir
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(state_dir, error) from None
    if not os.access(state_dir, os.W_OK | os.X_OK):
        raise _unusable(state_dir, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unusable(state_dir: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "server.state_dir",
        f"{state_dir} cannot be used: {error.strerror}",
        remedy="name a directory that this user may write",
    )


async def _run(config: Config, sockets: list[socket.socket]) -> None:
    async with opened(config) as fleet:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = _server(config, fleet)
        async with working(config, fleet):
            serving = asyncio.create_task(server.serve(sockets=sockets))
            stopping = asyncio.create_task(stop.wait())
            log.info("serving", listen=config.server.listen, orchestrator=fleet.rules.orchestrator)
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            fleet.wakeups.close()
            server.should_exit = True
            stopping.cancel()
            await serving
        log.info("stopped")


@asynccontextmanager
async def working(config: Config, fleet: Fleet) -> AsyncGenerator[None, None]:
    """The loops at work, and the runs of a former self followed again."""
    clock = SystemClock()
    places = make_places(config)
    await fleet.registry.declare_hosts(tuple(place.declared for place in places.values()))
    credentials = make_credentials(config)
    follower = Follower(
        fleet, places, adapters=config.adapters, credentials=credentials, clock=clock
    )
    loops = (
        Prober(fleet, places, adapters=config.adapters, clock=clock),
        Dispatcher(fleet, follower),
        follower,
        Sweeper(fleet, clock),
        Reconciler(fleet, every_s=float(config.git.poll)),
        Outbox(fleet),
        Janitor(fleet, places),
    )
    if await fleet.watch.settle_restore():
        for place in places.values():
            await end_strays(place.machine, place.setting)
    await follower.adopt()
    duties = asyncio.create_task(run_loops(loops, wakeups=fleet.wakeups))
    try:
        yield
    finally:
        duties.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await duties
        await follower.close()


def make_rules(config: Config) -> Rules:
    """What the use cases take from the configuration."""
    defaults = config.defaults
    return Rules(
        orchestrator=config.server.name,
        adapter=defaults.adapter,
        adapters=frozenset(config.adapters),
        model=defaults.model,
        review_limit=defaults.review_limit,
        max_tries=defaults.max_tries,
        max_attempts=defaults.max_attempts,
        run_limit_s=float(defaults.run_limit),
        silence_limit_s=float(defaults.silence_limit),
        backoff=Backoff(first_s=float(defaults.backoff)),
        retry=defaults.retry,
        lease_ttl=timedelta(seconds=float(config.lease.ttl)),
        identity=config.git.identity,
        repos={
            name: RepoRules(
                name=name,
                forge=name.partition("/")[0],
                url=str(repo.url),
                base=str(repo.base),
                validation=tuple(str(command) for command in repo.validation),
                commit=repo.commit,
                adapter=repo.adapter,
            )
            for name, repo in config.repos.items()
        },
    )


def make_forges(config: Config) -> Mapping[str, Forge]:
    """The forges by name; each keeps its copies of repositories in the state directory."""
    environ = base_environment()
    forges: dict[str, Forge] = {}
    credentials = make_credentials(config)
    for name in config.forges:
        forges[name] = GitForge(
            config.server.state_dir / "mirrors" / name,
            environ=environ,
            credentials=credentials.get(name),
        )
    return forges


def make_credentials(config: Config) -> dict[str, Credentials]:
    """What opens each forge that has credentials in the configuration."""
    return {
        name: Credentials(username=given.username, token=given.token)
        for name, settings in config.forges.items()
        if (given := settings.credentials) is not None
    }


def make_places(config: Config) -> dict[str, Place]:
    """The hosts of this orchestrator, each with what runs there are given."""
    if config.local is None:
        return {}
    base = base_environment(path=[str(path) for path in config.local.path])
    host = Host(
        name="local",
        orchestrator=config.server.name,
        slots=config.local.slots,
        capabilities=config.local.capabilities,
    )
    root = str(config.local.root)
    machine = LocalMachine("local", environment=base)
    setting = Setting(
        root=root, environment=base, passable=_wanted(config.adapters), self_stop=False
    )
    return {"local": Place(host, machine, setting)}


def _wanted(adapters: Mapping[str, Adapter]) -> dict[str, str]:
    return named_environment(name for adapter in adapters.values() for name in adapter.env)


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: a stop has more to do than to close sockets."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _server(config: Config, fleet: Fleet) -> _Server:
    settings = config.server
    proxies = settings.trusted_proxy
    return _Server(
        uvicorn.Config(
            create_app(fleet),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            proxy_headers=bool(proxies),
            forwarded_allow_ips="*" if proxies is True else [str(p) for p in proxies or ()],
            lifespan="off",
            timeout_graceful_shutdown=REQUESTS_END_S,
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )


def _check_tls(config: Config) -> None:
    """Raises InvalidInput for a certificate and a key that do not make a TLS server."""
    cert, key = config.server.tls_cert, config.server.tls_key
    if cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(
            "server.tls_cert",
            f"{cert} and {key} cannot be used: {error.strerror or error}",
            remedy="name a PEM file with the certificate chain, and one with its key",
        ) from None


@contextmanager
def _listening(listen: Listen) -> Generator[list[socket.socket], None, None]:
    """Sockets on every address that the name stands for. InvalidInput if one cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
            addresses = dict.fromkeys((family, address[:2]) for family, _, _, _, address in found)
            sockets = [
                stack.enter_context(socket.create_server(address, family=family, backlog=2048))
                for family, address in addresses
            ]
        except OSError as error:
            raise InvalidInput(
                "server.listen",
                f"cannot listen on {listen}: {error.strerror or error}",
                remedy="end who listens there (another fleet?), or choose another address or port",
            ) from None
        yield sockets


@contextmanager
def _alone(state_dir: Path) -> Generator[None, None, None]:
    """One orchestrator in a state directory; the lock goes with the process, however that ends."""
    handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidInput(
            "server.state_dir",
            f"another orchestrator is running with {state_dir}",
            remedy="stop that one, or give this one a state_dir of its own",
        ) from None
    else:
        yield
    finally:
        os.close(handle)
