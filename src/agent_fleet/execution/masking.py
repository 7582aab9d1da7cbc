"""Secrets in output become asterisks, byte for byte, before anything is counted, kept or sent.

A byte is masked if any occurrence of any secret covers it, so the result depends on the bytes
alone and not on how they came. Masked are a secret itself and its form inside a JSON string; an
encoding that an agent makes up is not recognized.
"""

import json
import re
from collections.abc import Iterable, Mapping

SHORTEST = 6
"""Bytes of the shortest secret that is masked: a shorter one would blank out ordinary words."""

_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")


def secrets_of(variables: Mapping[str, str], *others: str) -> tuple[bytes, ...]:
    """What is to be masked: values of variables that look secret, passwords in addresses, `others`.

    The longest first; each in its forms.
    """
    values = {value for name, value in variables.items() if _NAME.search(name)}
    values |= {found for value in variables.values() for found in _IN_ADDRESS.findall(value)}
    values |= set(others)
    forms: set[bytes] = set()
    for value in values:
        in_json = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
        for form in (value, *in_json):
            forms.add(form.encode("utf-8", "surrogateescape"))
    return tuple(sorted((f for f in forms if len(f) >= SHORTEST), key=len, reverse=True))


def mask(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """`data`, of the same length, with `*` for each byte of each occurrence of a secret."""
    masked: bytearray | None = None
    for secret in secrets:
        at = data.find(secret)
        while at >= 0:
            masked = masked or bytearray(data)
            masked[at : at + len(secret)] = b"*" * len(secret)
            at = data.find(secret, at + 1)
    return bytes(masked) if masked is not None else data


def mask_text(text: str, secrets: Iterable[bytes]) -> str:
    """As `mask`, of text in UTF-8."""
    return mask(text.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")


class Masker:
    """Masks a stream that comes in chunks: what comes out in all is `mask` of what went in.

    So many bytes as a secret may still reach into are held back until more comes or the stream
    ends.
    """

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        self._secrets = secrets
        self._reach = max((len(secret) for secret in secrets), default=1) - 1
        self._raw = b""  # the last bytes given out, then those held back
        self._held = 0

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """What can be given out now that `data` has come; all of it if it is the `last`."""
        raw = self._raw + data
        begin = len(raw) - len(data) - self._held
        end = len(raw) if last else max(begin, len(raw) - self._reach)
        given = mask(raw, self._secrets)[begin:end]
        self._raw = raw[max(0, end - self._reach) :]
        self._held = len(raw) - end
        return given
