"""One server, one token: requests with bounded retries, and nothing of the token anywhere else.

- A request that may be sent twice is sent up to `TRIES` times, with growing, jittered pauses and
  never earlier than `Retry-After` says; one that may not, again only if it never left.
- Certificates are verified, against the system's own trust store. Redirects are not followed: they
  would carry the token elsewhere.
- A proxy from the environment is used for other machines, and never for loopback.
"""

import asyncio
import ipaddress
import random
import re
import ssl
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from agent_fleet.client.problems import read_error
from agent_fleet.core.errors import FleetError, InvalidInput, Unavailable

T = TypeVar("T")

TRIES = 4
ANSWER_BYTES = 64 * 1024 * 1024
"""No answer is larger; one that is belongs to some other program."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_CONNECT_S = 5.0
_READ_S = 60.0
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
_TOKEN = re.compile(r"[!-~]{1,500}")

Params = Mapping[str, str | int | float | list[str]]


class Answer(msgspec.Struct, frozen=True):
    """A success."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection:
    """Raises InvalidInput for an address or a token that cannot be meant."""

    def __init__(self, url: str, token: str) -> None:
        self.url = _checked(url)
        if not _TOKEN.fullmatch(token):
            # The driver's own error would quote the token.
            raise InvalidInput("token", "is not one word of ASCII", remedy="pass the whole token")
        local = _is_loopback(self.url)
        encrypted = self.url.startswith("https:")
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            # Reading the trust store takes a fifth of a second; this one trusts nobody.
            verify=True if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=not local,
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        body: msgspec.Struct | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        wait_s: float = 0.0,
    ) -> T:
        """Send, and read the answer as `kind`; see `send`."""
        answer = await self.send(
            method,
            path,
            content=None if body is None else msgspec.json.encode(body),
            params=params,
            headers=headers,
            repeatable=repeatable,
            wait_s=wait_s,
        )
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError:
            raise FleetError(
                f"{self.url} answered, and not as a fleet does; is the address right?"
            ) from None

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        wait_s: float = 0.0,
    ) -> Answer:
        """The answer of success; else raises the server's own error, or Unavailable.

        `wait_s`: so long the server may take its time beyond the usual.
        """
        sent = {"Content-Type": "application/json"} if content is not None else {}
        request = self._http.build_request(
            method,
            path,
            content=content,
            params=params,
            headers={**sent, **(headers or {})},
            timeout=httpx2.Timeout(_READ_S + wait_s, connect=_CONNECT_S, pool=_CONNECT_S),
        )
        tries = 1
        while True:
            try:
                return await self._send_once(request)
            except Unavailable as error:
                if tries == TRIES or error.retry_after_s > _LONGEST_PAUSE_S:
                    raise
                if not (repeatable or isinstance(error.__cause__, _NEVER_SENT)):
                    raise
                growing = min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)
                pause = max(error.retry_after_s, random.uniform(_FIRST_PAUSE_S, growing))
            await asyncio.sleep(pause)
            tries += 1

    async def _send_once(self, request: httpx2.Request) -> Answer:
        try:
            response = await self._http.send(request, stream=True)
            try:
                content = await self._read(response)
            finally:
                await response.aclose()
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"{self.url} does not answer: {said}", retry_after_s=0.0) from error
        if response.is_success:
            return Answer(response.status_code, response.headers, content)
        raise read_error(
            response.status_code, content, retry_after=response.headers.get("retry-after")
        )

    async def _read(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_BYTES:
                raise FleetError(f"{self.url} answered with more than {ANSWER_BYTES} bytes")
        return bytes(content)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fine, parts = False, None
    if not fine or parts is None or parts.username or parts.query or parts.fragment:
        raise InvalidInput(
            "url", "is not a server's address", remedy="write it as http://127.0.0.1:8620"
        )
    return url.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
