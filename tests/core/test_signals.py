"""Signals that ask a process to end."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tomolearn._core.signals import TERMINATED, terminable, terminated_by_others, uninterrupted


def ask(number):
    os.kill(os.getpid(), number)


def test_a_process_that_is_told_to_end_leaves_in_order():
    with pytest.raises(SystemExit) as stop, terminable():
        ask(signal.SIGTERM)
    assert stop.value.code == TERMINATED == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_end_of_what_must_not_be_interrupted(number):
    done = []

    def work():
        with terminable():
            with uninterrupted():
                ask(number)
                done.append(1)
            done.append(2)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        work()
    assert done == [1]


def test_an_error_is_not_lost_to_a_signal():
    def fail():
        with uninterrupted():
            ask(signal.SIGINT)
            raise ValueError("first")

    with pytest.raises(KeyboardInterrupt) as stop:
        fail()
    assert isinstance(stop.value.__context__, ValueError)


def test_a_library_may_have_its_own_way_to_end():
    told = []
    with terminable(), terminated_by_others():
        ours = signal.getsignal(signal.SIGTERM)

        def theirs(number, frame):
            told.append(number)
            ours(number, frame)

        signal.signal(signal.SIGTERM, theirs)
        ask(signal.SIGTERM)
        signal.signal(signal.SIGTERM, ours)
        # before and after it, there is nobody else
        with pytest.raises(SystemExit) as stop:
            ask(signal.SIGTERM)
    assert told == [signal.SIGTERM]
    assert stop.value.code == TERMINATED


def test_other_threads_have_no_handlers():
    failed = []

    def run():
        try:
            with terminable(), terminated_by_others(), uninterrupted():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


PROGRAM = """
import os, signal, sys
import tomolearn.cli
from tomolearn._core.files import complete_file
from pathlib import Path

def app(**options):
    with complete_file(Path(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)

tomolearn.cli.app = app
tomolearn.cli.main()
"""


def test_every_command_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a.npy")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (143, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_was_removed_is_said(tmp_path: Path) -> None:
    program = (
        "import os, sys, tomolearn.cli\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "sys.argv = ['tomolearn', 'tasks']\n"
        "tomolearn.cli.main()\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", program]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: the working directory was removed; change to another\n"
