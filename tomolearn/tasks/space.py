"""Tasks in space."""

from __future__ import annotations

from tomolearn.data.phantoms import RandomEllipsoids, ThoraxVolumes
from tomolearn.geometry import ConeBeam, Grid
from tomolearn.methods import FBP, TotalVariation
from tomolearn.metrics import CONVENTIONS
from tomolearn.simulation import Acquisition, PhotonNoise, Refinement
from tomolearn.tasks.task import Split, Task

_EXTENT = 128.0  # mm
# of a table-top scanner, in mm
_SOURCE, _DETECTOR = 300.0, 600.0
# a body of value 0.5 attenuates like water, 20 / m
_ATTENUATION = 0.04


def _cone_ellipsoids(name: str, n_voxels: int, n_angles: int, weight: float | None) -> Task:
    grid = Grid((n_voxels,) * 3, _EXTENT / n_voxels)
    ellipsoids = RandomEllipsoids()
    return Task(
        name=name,
        description=f"cone beam of random ellipsoids: {n_voxels}^3 voxels, {n_angles} views, "
        "10,000 photons",
        reference="data_sim.random_ellipsoid_parameters",
        grid=grid,
        acquisition=Acquisition(
            ConeBeam.covering(
                grid, n_angles, source_to_isocenter=_SOURCE, source_to_detector=_DETECTOR
            ),
            PhotonNoise(photons=10_000, attenuation=_ATTENUATION),
            Refinement("average", 2),
        ),
        splits={
            "train": Split(ellipsoids, seed=91),
            "validation": Split(ellipsoids, seed=92, size=8),
            "test": Split(ellipsoids, seed=93, size=20),
        },
        convention=CONVENTIONS["range-1"],
        # the best of a few on two validation volumes: weights, and the filter on 64^3 voxels
        baselines={"fbp": FBP(filter="hann")}
        | ({} if weight is None else {"tv": TotalVariation(weight=weight)}),
    )


# for first steps of a training: as many views per voxel across
CONE_ELLIPSOIDS_32 = _cone_ellipsoids("cone-ellipsoids-32", 32, 15, 16.0)
CONE_ELLIPSOIDS = _cone_ellipsoids("cone-ellipsoids", 64, 30, 10.0)
CONE_ELLIPSOIDS_128 = _cone_ellipsoids("cone-ellipsoids-128", 128, 60, None)

_CHEST = Grid((48, 96, 96), 3.75)
_CHESTS = ThoraxVolumes(field=360.0, length=180.0)
CONE_CHEST = Task(
    name="cone-chest",
    description="cone beam of synthetic chests: 48 x 96 x 96 voxels, 60 views, 10,000 photons",
    reference="data_sim.random_thorax",
    grid=_CHEST,
    acquisition=Acquisition(
        # distances of cone beams in radiotherapy
        ConeBeam.covering(_CHEST, 60, source_to_isocenter=1000.0, source_to_detector=1536.0),
        # water, 0.25, attenuates 0.0193 / mm
        PhotonNoise(photons=10_000, attenuation=0.0772),
        # slices are drawn smooth over a voxel, which a finer grid would take eight times as long to
        Refinement("linear", 2),
    ),
    splits={
        "train": Split(_CHESTS, seed=94),
        "validation": Split(_CHESTS, seed=95, size=8),
        "test": Split(_CHESTS, seed=96, size=20),
    },
    convention=CONVENTIONS["range-1"],
    baselines={"fbp": FBP(filter="hann")},
)
