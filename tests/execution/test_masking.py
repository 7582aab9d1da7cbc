"""Masking: no byte of a secret comes out, and the result does not depend on the chunks."""

from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.execution.masking import Masker, mask, mask_text, secrets_of

ALPHABET = b"ab"
STREAMS = st.binary().map(lambda data: bytes(ALPHABET[byte % 2] for byte in data))
SECRETS = st.lists(STREAMS.filter(lambda secret: 6 <= len(secret) <= 12), max_size=3)


@given(
    stream=STREAMS,
    secrets=SECRETS,
    planted=st.lists(st.integers(0, 50), max_size=3),
    cuts=st.data(),
)
def test_chunks_make_no_difference(
    stream: bytes, secrets: list[bytes], planted: list[int], cuts: st.DataObject
) -> None:
    for at, secret in zip(planted, secrets, strict=False):
        stream = stream[:at] + secret + stream[at:]
    borders = sorted(cuts.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    masker = Masker(tuple(secrets))

    given_out = b""
    for begin, end in zip([0, *borders], [*borders, len(stream)], strict=True):
        given_out += masker.feed(stream[begin:end])
        assert mask(stream, secrets).startswith(given_out)
    given_out += masker.feed(b"", last=True)

    assert given_out == mask(stream, secrets)
    assert len(given_out) == len(stream)


@given(stream=STREAMS, secrets=SECRETS)
def test_exactly_what_a_secret_covers_is_masked(stream: bytes, secrets: list[bytes]) -> None:
    masked = mask(stream, secrets)

    for at, byte in enumerate(masked):
        covered = any(
            stream.startswith(secret, begin)
            for secret in secrets
            for begin in range(max(0, at - len(secret) + 1), at + 1)
        )
        assert byte == (ord("*") if covered else stream[at])


def test_overlapping_secrets_are_both_masked() -> None:
    assert mask(b"xabcdefghx", [b"abcdef", b"cdefgh"]) == b"x********x"


def test_values_are_chosen_by_the_names_of_their_variables() -> None:
    variables = {
        "MY_API_KEY": "value-of-key",
        "my_token": "value-of-token",
        "CLIENT_SECRET": "value-of-secret",
        "DB_PASSWORD": "value-of-password",
        "BASE_URL": "http://127.0.0.1/v1",
        "OTHER_KEY": "short",
    }

    secrets = secrets_of(variables, "forge-token")

    assert set(secrets) == {
        b"value-of-key",
        b"value-of-token",
        b"value-of-secret",
        b"value-of-password",
        b"forge-token",
    }


def test_the_password_in_an_address_is_a_secret() -> None:
    assert secrets_of({"HTTPS_PROXY": "http://user:hunter22@proxy:3128"}) == (b"hunter22",)


def test_a_secret_is_masked_in_json_too() -> None:
    secrets = secrets_of({"KEY": 'quo"ted\nkeé'})

    masked = mask(b'{"a":"quo\\"ted\\nke\\u00e9"} quo"ted\nke\xc3\xa9', secrets)

    assert masked == b'{"a":"' + 18 * b"*" + b'"} ' + 12 * b"*"


def test_text_is_masked_by_its_bytes() -> None:
    assert mask_text("ä secret ä", [b"secret"]) == "ä ****** ä"
