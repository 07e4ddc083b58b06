"""Progress bars."""

import io

import pytest

from tomolearn._core.progress import progress_bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown", "drawn"),
    [
        (Terminal(), None, True),
        (io.StringIO(), None, False),
        (Terminal(), False, False),
        (io.StringIO(), True, True),
    ],
)
def test_bars_are_drawn_on_terminals_or_when_asked_for(
    stream: io.StringIO, shown: bool | None, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bars(shown) as bars:
        bar = bars.add_task("some [bold] patient", total=3, unit="slices")
        bars.advance(bar, 3)
    found = stream.getvalue()
    for word in ("some [bold] patient", "3/3", "slices"):
        assert (word in found) == drawn


def test_drawing_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(True) as bars:
        bars.add_task("loop", total=1)
    assert capsys.readouterr().out == ""
