"""Contenders that are measured in one run: that they take turns, and what this is for."""

import pytest
import torch

from tomolearn.benchmarks import timing

CPU = torch.device("cpu")


class Machine:
    """A machine with a clock of its own, on which every call takes longer than the one before."""

    def __init__(self, monkeypatch, slowing=0.0):
        self.time, self.slowing, self.calls = 0.0, slowing, []
        monkeypatch.setattr(timing, "now", lambda device: self.time)
        monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)

    def contender(self, name, seconds):
        def call():
            self.calls.append(name)
            self.time += seconds * (1 + self.slowing * self.time)

        return call


def test_contenders_take_turns(monkeypatch):
    machine = Machine(monkeypatch)
    timing.race({name: machine.contender(name, 1.0) for name in "abc"}, 4, CPU)
    # each alone once to warm up and once to choose the number of calls
    assert "".join(machine.calls) == "aabbcc" + 4 * "abc"


def test_fast_contenders_are_called_several_times_in_each_turn(monkeypatch):
    machine = Machine(monkeypatch)
    found = timing.race(
        {"fast": machine.contender("f", 0.04), "slow": machine.contender("s", 0.2)}, 2, CPU
    )
    # one call to warm up again, then as many as take a tenth of a second
    assert "".join(machine.calls) == "ff" + "ss" + 2 * ("f" + "fff" + "s")
    assert found == {"fast": pytest.approx(0.04), "slow": pytest.approx(0.2)}


def test_calls_of_minutes_are_not_repeated_to_choose_their_number(monkeypatch):
    machine = Machine(monkeypatch)
    found = timing.race(
        {"long": machine.contender("l", 60.0), "short": machine.contender("s", 1.0)}, 2, CPU
    )
    assert "".join(machine.calls) == "ll" + "ss" + "ls" + "s"
    assert found == {"long": pytest.approx(60.0), "short": pytest.approx(1.0)}


def test_a_machine_that_slows_down_does_not_decide_the_race(monkeypatch):
    machine = Machine(monkeypatch, slowing=0.02)
    found = timing.race({name: machine.contender(name, 1.0) for name in "ab"}, 9, CPU)
    # between two turns the machine slows down by 2 %, from the first round to the last by 40 %
    assert found["a"] < found["b"] < 1.03 * found["a"]


def test_every_name_has_its_turn_in_every_round():
    assert list(timing.turns(("a", "b"), 3)) == ["a", "b"] * 3


def test_ratios_are_to_the_reference():
    found = list(timing.with_ratios("scan", 2, "forward", {"a": 0.5, "b": 2.0}, "b"))
    assert [(one.contender, one.value, one.unit, one.ratio) for one in found] == [
        ("a", 500.0, "ms", 4.0),
        ("b", 2000.0, "ms", 1.0),
    ]
