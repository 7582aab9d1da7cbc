"""The pages with generated blocks say what the program's own tables say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate_docs.py"


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_generated_block_is_stale(generate: ModuleType) -> None:
    assert list(generate.stale(generate.ROOT)) == []


def test_a_changed_block_is_found_and_made_anew(generate: ModuleType, tmp_path: Path) -> None:
    for name in generate.DOCUMENTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((generate.ROOT / name).read_text())
    page = tmp_path / "docs" / "lifecycle.md"
    right = (generate.ROOT / "docs" / "lifecycle.md").read_text()
    page.write_text(right.replace("queued --> assigned", "queued --> completed"))

    assert list(generate.stale(tmp_path)) == [(page, right)]


def test_every_block_that_can_be_made_is_on_a_page(generate: ModuleType) -> None:
    pages = "".join((generate.ROOT / name).read_text() for name in generate.DOCUMENTS)

    assert all(f"<!-- generated: {name} -->" in pages for name in generate.BLOCKS)
