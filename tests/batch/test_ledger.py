"""The ledger survives whatever a killed run leaves of its last line."""

from pathlib import Path

import pytest

from tomolearn.batch import Ledger, read_ledger

RECORDS = [{"event": "run", "n": 1}, {"event": "series", "name": "Müller\n", "x": None}]


def write(path: Path) -> None:
    with Ledger(path) as ledger:
        for record in RECORDS:
            ledger.append(record)


def test_records_come_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path)
    assert read_ledger(path) == RECORDS
    write(path)
    assert read_ledger(path) == RECORDS * 2


def test_a_line_cut_anywhere_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = 0 if length < first else 1
        assert read_ledger(path) == RECORDS[:kept]
        with Ledger(path) as ledger:
            ledger.append(RECORDS[1])
        assert read_ledger(path) == [*RECORDS[:kept], RECORDS[1]]


def test_a_long_last_line_is_found_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path)
    with path.open("ab") as stream:
        stream.write(b'{"half": "' + b"x" * 20_000)
    assert read_ledger(path) == RECORDS


def test_a_complete_line_that_is_no_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"a": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"ledger.jsonl: line 2: expected JSON, got b'nonsense'"):
        read_ledger(path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1: expected an object"):
        read_ledger(path)


def test_what_json_has_no_word_for_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger, pytest.raises(ValueError, match="Out of range float"):
        ledger.append({"x": float("nan")})
    assert path.read_bytes() == b""
