import re
from pathlib import Path

from scripts import cli_reference

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_the_reference_is_what_the_command_is() -> None:
    text = DOCUMENT.read_text()

    for name, make in cli_reference.BLOCKS.items():
        found = re.search(
            rf"<!-- generated: {name} -->\n(.*?)<!-- end: {name} -->", text, re.DOTALL
        )
        assert found is not None
        assert found[1] == f"{make()}\n", "stale: run make docs"
