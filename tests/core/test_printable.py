"""Text of files in messages and logs: nothing that a terminal obeys."""

import json
import unicodedata
from pathlib import Path

import pytest
from batch_trees import write_series
from typer.testing import CliRunner

from tomolearn._core.printable import printable
from tomolearn.batch.ledger import Ledger, read_ledger
from tomolearn.cli import app
from tomolearn.dicom import find_series

ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f"
TURNED = "abc\u202egpj.\u2066"


def test_every_control_character_is_shown() -> None:
    for code in range(0x10000):
        character = chr(code)
        shown = printable(character)
        assert printable(shown) == shown
        dangerous = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (
            unicodedata.bidirectional(character)
            in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        )
        assert (shown != character) == (dangerous and character != "\n") or code in (
            *(0x061C, 0x200E, 0x200F),
        )
        if shown != character:
            assert shown.isascii()
            assert json.loads(f'"{printable(character, json=True)}"') == character


@pytest.mark.parametrize("text", ["Müller^Grete", "山田　太郎", "\u0645\u06cc\u200c", "α\u00a0β\n"])
def test_text_in_any_script_stays(text: str) -> None:
    assert printable(text) == text


def test_ledger_keeps_what_it_makes_visible(tmp_path: Path) -> None:
    record = {"path": ESCAPES + TURNED + "\udcff"}
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.append(record)
    written = (tmp_path / "ledger").read_text()
    assert printable(written) == written
    assert read_ledger(tmp_path / "ledger") == [record]


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.filterwarnings("ignore:Found unknown escape sequence:UserWarning")
def test_dicom_says_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    """Neither of elements, nor of names of folders and files, nor of what is skipped."""
    said = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": f"a{ESCAPES}"}
    said |= {"PatientID": f"P{ESCAPES}", "SeriesDescription": f"S{TURNED}{ESCAPES}"}
    folder = tmp_path / "in" / f"f{ESCAPES}"
    write_series(folder, "a", 1, **said)
    write_series(tmp_path / "in" / TURNED, "b", 1, RescaleType=f"X{ESCAPES}")
    (tmp_path / "in" / f"lost{TURNED}.dcm").write_bytes(b"")
    assert ESCAPES[1:5] in find_series(tmp_path / "in").series[0].description
    for more in (("--dry-run",), ("--workers", "0"), ("--workers", "0")):
        command = ["dicom", str(tmp_path / "in"), str(tmp_path / "out"), "--views", "30", *more]
        result = CliRunner().invoke(app, command)
        assert result.exit_code in (0, 1), result.output
        for text in (result.stdout, result.stderr):
            assert printable(text) == text
    written = (tmp_path / "out" / "ledger.jsonl").read_text()
    assert printable(written) == written
    result = CliRunner().invoke(app, ["dicom", f"none{ESCAPES}", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert printable(result.output) == result.output
