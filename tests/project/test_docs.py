from pathlib import Path

import pytest

from scripts import check_docs

SOUND = {
    "Makefile": "demo:\ntest: x\n",
    "README.md": "# Title\n\n`make demo` and `make test`, see [below](docs/a.md#some-part).\n",
    "CHANGELOG.md": "## [Unreleased]\n",
    "docs/a.md": "# A\n\n## Some part\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_documents_in_step_yield_nothing(tmp_path: Path):
    root = write(tmp_path, SOUND)

    assert list(check_docs.findings(root)) == []


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("docs/a.md", "[gone](b.md)", "README.md: the link docs/a.md#some-part leads nowhere"),
        ("docs/b.md", "![picture](none.png)", "docs/b.md: the link none.png leads nowhere"),
        ("docs/b.md", "`make deamon`", "docs/b.md: the Makefile has no target deamon"),
        ("README.md", "`make test`", "README.md: does not show make demo"),
        (
            "docs/b.md",
            "```sh\nX=1 fleet task list --nope | cat\n```",
            "docs/b.md: fleet task list --nope: Unknown option: --nope.",
        ),
        (
            "docs/b.md",
            "```sh\nid=$(fleet task wait x)\n```",
            'docs/b.md: fleet task wait x: Invalid value for TASK: unable to convert "x" into int.',
        ),
        ("CHANGELOG.md", "## 0.1.0\n", "CHANGELOG.md: has no section Unreleased"),
    ],
    ids=["anchor", "image", "target", "command", "flag", "argument", "changelog"],
)
def test_each_fault_is_named(tmp_path: Path, name: str, text: str, finding: str):
    root = write(tmp_path, SOUND | {name: text})

    assert finding in list(check_docs.findings(root))


@pytest.mark.parametrize(
    "text",
    [
        "`fleet task create` and `fleet task approve N --merge`",
        "```sh\n$ A=http://b:1 fleet agent run --slots 2 2>>log &\n```",
        "```sh\nfleet task create --file - --repo a/b <<'END'\nfleet says: hello\nEND\n```",
    ],
    ids=["in running text", "among a shell's own", "before a text"],
)
def test_a_command_that_there_is_passes(tmp_path: Path, text: str):
    root = write(tmp_path, SOUND | {"docs/b.md": text})

    assert list(check_docs.findings(root)) == []
