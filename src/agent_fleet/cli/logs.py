"""Logs of processes that stay: on stderr, for people on a terminal, else one JSON line each."""

import sys

import structlog
from structlog.typing import Processor


def configure() -> None:
    """Call it once, before the process begins its work."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(people=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _renderers(*, people: bool) -> list[Processor]:
    # Tracebacks without the values of variables, which structlog would show: tokens are among them.
    if people:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
