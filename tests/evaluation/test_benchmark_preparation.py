"""What a benchmark makes before it measures: data of LIDC-IDRI, trained networks."""

import functools
import json
from pathlib import Path

import pytest
from lidc_trees import SEED, SHAPE, SLICES

from data_sim.lidc import write_lidc
from tomolearn.data import LoDoPaBPairs
from tomolearn.data.lodopab import Recipe, make_lodopab
from tomolearn.evaluation.benchmarking import preparation
from tomolearn.evaluation.benchmarking.preparation import prepared_data, trained_networks
from tomolearn.tasks import get_task

RECIPE = Recipe(slice_size=SHAPE[0], margin=19, simulated_size=150, n_angles=20)


@pytest.fixture
def patients(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "make_lodopab", functools.partial(make_lodopab, recipe=RECIPE))
    # the first ten patients' hash values give all three splits with fractions of 0.6, 0.2, 0.2
    write_lidc(tmp_path / "lidc", patients=10, slices=SLICES, seed=SEED, shape=SHAPE)
    return tmp_path / "lidc"


def test_patients_become_the_tasks_files(patients, tmp_path) -> None:
    task, out = get_task("lodopab-200"), tmp_path / "made"
    told = []
    options = {"every": 4, "told": lambda *what: told.append(what)}
    made = prepared_data(task, patients, out, fractions=(0.6, 0.2, 0.2), **options)
    assert made == out
    assert len(told) == 1
    for split in ("train", "validation", "test"):
        assert len(LoDoPaBPairs(out, split)) > 0
    # what is made already is taken
    assert prepared_data(task, out, tmp_path / "again", **options) == out
    assert prepared_data(get_task("ellipses"), patients, out, **options) == patients
    assert len(told) == 1
    with pytest.raises(ValueError, match=r"data: expected slices for each split .* got none for"):
        prepared_data(task, patients, tmp_path / "other", fractions=(1.0, 0.0, 0.0), **options)


def test_networks_are_trained_once(tmp_path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(
        'model = "learned-gradient"\ntask = "other"\nbatch_size = 1\nvalidation_size = 1\n'
        "[model_arguments]\niterations = 1\nchannels = 2\n"
    )
    told = []
    for _ in range(2):
        found = trained_networks(
            [str(file)],
            "ellipses",
            None,
            tmp_path / "runs",
            max_time="1s",
            told=lambda *what: told.append(what),
        )
    assert told == [("tiny", "is trained for 1s")]
    card = json.loads(Path(found["tiny"]).read_text())
    assert card["task"] == "ellipses"
    assert card["model"] == "learned-gradient"
    with pytest.raises(ValueError, match="train: expected each network once, got 'tiny' again"):
        trained_networks([str(file)] * 2, "ellipses", None, tmp_path / "runs", max_time="1s")
