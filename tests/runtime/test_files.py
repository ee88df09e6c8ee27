"""Files are complete or absent, and changed ones are found by their checksums."""

import hashlib
import json
from pathlib import Path

import pytest

from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import hash_files, read_json, require_unchanged, write_json, write_text


def test_text_is_written_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    write_text(file, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sslzoo.runtime.files.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(file, "new")
    assert file.read_text() == "old"


def test_checksums_are_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    sums = hash_files(tmp_path.iterdir())
    assert list(sums.items()) == [(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("a", "b")]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"\0\1\2")
    write_json(tmp_path / "summary.json", {"sha256": hash_files([tmp_path / "weights"])})
    return tmp_path / "summary.json"


def test_unchanged_and_unlisted_files_are_accepted(record: Path, tmp_path: Path) -> None:
    require_unchanged(record, "weights", "unlisted")
    require_unchanged(tmp_path / "missing.json", "weights")


def test_changed_file_is_one_line(record: Path) -> None:
    record.with_name("weights").write_bytes(b"\0\1\3")
    with pytest.raises(UserError, match=r"weights: has changed since it was written .*summary.json.*--resume"):
        require_unchanged(record, "weights")


def test_deleted_file_is_one_line(record: Path) -> None:
    record.with_name("weights").unlink()
    with pytest.raises(UserError, match=r"weights: cannot be compared with its checksum in summary.json"):
        require_unchanged(record, "weights")


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\xff", "[" * 100_000, json.dumps({"sha256": 1})])
def test_damaged_record_is_one_line(content: str, record: Path) -> None:
    record.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"not readable as JSON|contains a|cannot be compared"):
        require_unchanged(record, "weights")


def test_json_object_is_read(record: Path) -> None:
    assert list(read_json(record)) == ["sha256"]
