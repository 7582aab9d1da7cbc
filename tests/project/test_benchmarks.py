from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import ENTRIES, main
from benchmarks.entry import Entry, percentile, read_entries, renew

ENTRY = Entry(name="first", value=120.0, unit="ms", baseline=3.0, ratio=40.0)


def test_an_unknown_name_is_an_error_that_lists_the_names(capsys: pytest.CaptureFixture[str]):
    code = main(["--only", "submit_to_sart"])

    said = capsys.readouterr().err
    assert code == 2
    assert "'submit_to_sart'" in said
    assert all(name in said for name in ENTRIES)


def test_each_entry_is_named_after_its_file():
    modules = {name: measure.__module__ for name, measure in ENTRIES.items()}

    assert modules == {name: f"benchmarks.{name}" for name in ENTRIES}


def test_each_entry_is_described_in_the_documents():
    document = Path(__file__).parents[2] / "docs" / "benchmarks.md"

    described = document.read_text(encoding="utf-8")

    assert all(f"`{name}`" in described for name in ENTRIES)


def test_an_entry_in_the_file_has_all_its_fields(tmp_path: Path):
    file = tmp_path / "build" / "bench.json"

    renew(file, ENTRY)

    (written,) = msgspec.json.decode(file.read_bytes())
    assert written == {
        "name": "first",
        "value": 120.0,
        "unit": "ms",
        "baseline": 3.0,
        "ratio": 40.0,
        "target": None,
        "holds": None,
        "note": "",
    }


def test_an_entry_that_is_renewed_leaves_the_others_as_they_were(tmp_path: Path):
    file = tmp_path / "bench.json"
    other = msgspec.structs.replace(ENTRY, name="another", note="kept")
    renew(file, ENTRY)
    renew(file, other)
    better = msgspec.structs.replace(ENTRY, value=60.0, ratio=20.0)

    entries = renew(file, better)

    assert entries == [other, better]
    assert read_entries(file) == entries


def test_a_file_that_is_no_list_of_entries_is_written_anew(tmp_path: Path):
    file = tmp_path / "bench.json"
    file.write_text('[{"name": "of an older form"}]')

    entries = renew(file, ENTRY)

    assert read_entries(file) == entries == [ENTRY]


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 5.0), (90, 9.0), (99, 10.0), (100, 10.0), (1, 1.0)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float):
    values = [float(value) for value in reversed(range(1, 11))]

    found = percentile(values, percent)

    assert found == expected
