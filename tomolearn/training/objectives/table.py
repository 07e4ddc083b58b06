"""The table of objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomolearn._core.modules import built
from tomolearn._core.tables import Table, subclass_of
from tomolearn.training.objectives.objective import Objective

OBJECTIVES: Table[type[Objective]] = Table(
    "objective",
    {
        "supervised": "tomolearn.training.objectives.supervised:Supervised",
        "likelihood": "tomolearn.training.objectives.likelihood:Likelihood",
        "noise2inverse": "tomolearn.training.objectives.noise2inverse:Noise2Inverse",
        "equivariant-imaging": (
            "tomolearn.training.objectives.equivariant_imaging:EquivariantImaging"
        ),
        "sure": "tomolearn.training.objectives.sure:SURE",
        "random-arc": "tomolearn.training.objectives.random_arc:RandomArc",
        "score": "tomolearn.training.objectives.score:ScoreMatching",
        "adversarial": "tomolearn.training.objectives.adversarial:Adversarial",
        "bilevel": "tomolearn.training.objectives.bilevel:Bilevel",
        "variational-autoencoder": (
            "tomolearn.training.objectives.variational_autoencoder:EvidenceLowerBound"
        ),
        "denoising": "tomolearn.training.objectives.denoising:Denoising",
        "diffusion": "tomolearn.training.objectives.diffusion:Diffusion",
        "greedy": "tomolearn.training.objectives.greedy:Greedy",
        "joint-segmentation": (
            "tomolearn.training.objectives.joint_segmentation:JointSegmentation"
        ),
        "random-acquisition": (
            "tomolearn.training.objectives.random_acquisition:RandomAcquisition"
        ),
    },
    group="tomolearn.objectives",
    check=subclass_of("objective", Objective),
)
"""Objectives by name."""


def make_objective(spec: str, arguments: Mapping[str, Any]) -> Objective:
    """Make an objective from its name and its settings.

    Parameters
    ----------
    spec : str
        A name in `OBJECTIVES`, or where a subclass of `Objective` stands:
        ``path/to/file.py:Name`` or ``module:Name``.
    arguments : mapping
        Its settings by name.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, ImportError
        If it is not found, there is no such setting (with the nearest names), or a value is wrong.
    """
    return built(spec, OBJECTIVES.find(spec), arguments, what="objective_arguments")
