"""Text from outside, made fit for use: no control characters, one line, part of a branch name."""

import unicodedata

LINE_LENGTH = 200
SLUG_LENGTH = 40


def clean(text: str) -> str:
    """The text with line ends as \\n, without control characters and lone surrogates."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    return "".join(c for c in lines if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def shorten(text: str) -> str:
    """The text on one line, of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 1].rstrip() + "…"


def slug(title: str) -> str:
    """The title as part of a branch name: `^[a-z0-9][a-z0-9-]*$`, at most 40 characters.

    Latin letters lose their accents, other scripts are dropped; if nothing is left, it is "task".
    """
    plain = "".join(_ascii(character) for character in unicodedata.normalize("NFKD", title))
    words = "".join(c if c.isalnum() else " " for c in plain.lower()).split()
    whole = "-".join(words)
    if len(whole) > SLUG_LENGTH:
        whole = whole[: SLUG_LENGTH + 1].rpartition("-")[0] or whole[:SLUG_LENGTH]
    return whole or "task"


def _ascii(character: str) -> str:
    """The character in ASCII: o for ø and ae for æ, by their names; " " where there is nothing."""
    if character.isascii():
        return character
    if unicodedata.combining(character):
        return ""
    if character == "ß":
        return "ss"
    letter = unicodedata.name(character, "").removeprefix("LATIN ").partition("LETTER ")
    base = letter[2].split(" ")[0]
    latin = letter[0] in ("SMALL ", "CAPITAL ") and len(base) in (1, 2)
    return base if latin else " "
