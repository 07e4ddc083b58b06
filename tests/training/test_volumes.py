"""Training of networks in space."""

import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task

import tomolearn
from tomolearn import ConeBeam, Grid
from tomolearn.data import RandomEllipsoids
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.log import read_log
from tomolearn.training.run import train

GRID = Grid((6, 8, 8), 2.0)
SCAN = ConeBeam.covering(GRID, 5, source_to_isocenter=60.0, source_to_detector=100.0)


@pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")
def test_a_network_of_cone_beams_is_trained_with_and_without_kept_activations(
    tmp_path, monkeypatch
):
    source = RandomEllipsoids()
    task = small_task(
        grid=GRID,
        acquisition=Acquisition(SCAN, GaussianNoise(0.02)),
        splits={
            "train": Split(source, seed=1),
            "validation": Split(source, seed=2, size=2),
            "test": Split(source, seed=3, size=2),
        },
    )
    only_tasks(monkeypatch, task)
    threads, losses = torch.get_num_threads(), []
    for checkpointed in (False, True):
        config = TrainingConfig(
            model="learned-primal-dual",
            model_arguments={"iterations": 2, "n_primal": 2, "n_dual": 1, "channels": 3, "ndim": 3},
            task="small",
            steps=3,
            batch_size=2,
            validation_every=2,
            validation_size=2,
            log_every=1,
            checkpoint_activations=checkpointed,
            accelerator="cpu",
            threads=1,
        )
        result = train(config, tmp_path / str(checkpointed), command="tomolearn x")
        losses.append(list(read_log(tmp_path / str(checkpointed)).values()))
    torch.set_num_threads(threads)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    sinogram, image = task.pairs("test")[0]
    assert tomolearn.load(result.weights)(sinogram, task.operator()).shape == image.shape
