"""Helical scans of ellipsoids by exact line integrals, and their files in DICOM-CT-PD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_sim.ellipsoids import Ellipsoids, ellipsoid_line_integrals

WATER = 0.0192  # 1/mm

# (attenuation in water's, centre x y z, semi-axes, turn in the plane), in mm: a chest
CHEST = (
    (1.0, (0, 0, 0), (150, 100, 2000), 0.0),
    (-0.75, (-70, -5, 0), (55, 70, 160), 0.1),
    (-0.75, (70, -5, 0), (55, 70, 160), -0.1),
    (0.05, (10, -30, 10), (32, 28, 55), 0.3),
    (0.6, (0, 72, 0), (16, 13, 2000), 0.0),
    (0.95, (-65, 10, 4), (6, 6, 6), 0.0),
    (0.9, (80, -20, -20), (9, 7, 5), 0.4),
    (0.04, (0, 45, 0), (10, 10, 2000), 0.0),
)
Ellipsoid = tuple[float, tuple[float, float, float], tuple[float, float, float], float]


@dataclass(frozen=True)
class Helix:
    """A helical scanner; lengths in mm, angles in radians.

    The focal spot goes through `shifts`, rows of (angle, z, radius), from view to view.
    """

    turns: float = 4
    views_per_turn: int = 576
    rows: int = 64
    columns: int = 368
    radius: float = 595.0
    detector_distance: float = 1085.6
    row_spacing: float = 1.0947
    column_spacing: float = 2.5716
    feed: float = 38.4  # per turn
    center: tuple[float, float] | None = None  # row, column; by default the middle, + 1/4 column
    shifts: Sequence[tuple[float, float, float]] = ((0.0, 0.0, 0.0),)

    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return angle and z of the focal spot at rest, and its shifts, per view."""
        count = round(self.turns * self.views_per_turn)
        angles = 2 * np.pi * np.arange(count) / self.views_per_turn
        heights = self.feed * (angles - angles[-1] / 2) / (2 * np.pi)
        return angles, heights, np.asarray(self.shifts, float)[np.arange(count) % len(self.shifts)]

    @property
    def central(self) -> tuple[float, float]:
        """Row and column, counted from 0, of the ray through the axis."""
        if self.center is not None:
            return self.center
        return (self.rows - 1) / 2, (self.columns - 1) / 2 + 0.25

    def view(self, number: int, ellipsoids: Sequence[Ellipsoid] = CHEST) -> np.ndarray:
        """Return the exact line integrals of one view, (rows, columns)."""
        angles, heights, shifts = self.views()
        angle, height, shift = angles[number], heights[number], shifts[number]
        row, column = self.central
        gamma = (np.arange(self.columns) - column) * self.column_spacing / self.detector_distance
        v = (np.arange(self.rows) - row) * self.row_spacing
        spot = self.radius * np.array([-np.sin(angle), np.cos(angle)])
        moved, radius = angle + shift[0], self.radius + shift[2]
        source = np.array([-radius * np.sin(moved), radius * np.cos(moved), height + shift[1]])
        rays = np.empty((self.rows, self.columns, 3))
        rays[..., 0] = spot[0] + self.detector_distance * np.sin(angle + gamma) - source[0]
        rays[..., 1] = spot[1] - self.detector_distance * np.cos(angle + gamma) - source[1]
        rays[..., 2] = (height + v - source[2])[:, None]
        return ellipsoid_line_integrals(as_ellipsoids(ellipsoids), source, rays)


def as_ellipsoids(ellipsoids: Sequence[Ellipsoid]) -> Ellipsoids:
    """Return them in mm, with axes (x, y, z) and attenuation in 1/mm."""
    densities, centers, axes, turns = zip(*ellipsoids, strict=True)
    rotations = np.stack([_turned(turn) for turn in turns])
    return Ellipsoids(np.array(densities) * WATER, np.array(axes), np.array(centers), rotations)


def _turned(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def ellipsoid_volume(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, ellipsoids: Sequence[Ellipsoid] = CHEST
) -> np.ndarray:
    """Return the attenuation in 1/mm at points, (z, y, x)."""
    points = np.stack(np.broadcast_arrays(x[None, None], y[:, None], z[:, None, None]), -1)
    volume = np.zeros(points.shape[:3])
    solids = as_ellipsoids(ellipsoids)
    for value, center, matrix in zip(
        solids.value, solids.centre, solids.to_unit_balls(), strict=True
    ):
        volume += value * (np.sum(((points - center) @ matrix.T) ** 2, -1) <= 1)
    return volume


def write_ct_pd(folder: str | Path, helix: Helix, ellipsoids: Sequence[Ellipsoid] = CHEST) -> None:
    """Write a helix as DICOM-CT-PD, one file per view.

    The tags, their numbers and units are those of the format's manual (Chen et al. 2015,
    doi:10.1118/1.4935406); line integrals are 16-bit with a slope.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    angles, heights, shifts = helix.views()
    series = generate_uid()
    row, column = helix.central
    flies_z, flies_xy = (bool(np.ptp(shifts[:, k])) for k in (1, 0))
    mode = "FFS" + ("XY" * flies_xy + "Z" * flies_z or "NONE")
    for number, (angle, height, shift) in enumerate(zip(angles, heights, shifts, strict=True)):
        values = helix.view(number, ellipsoids)
        slope = float(f"{max(values.max(), 1e-6) / 65000:.8g}")
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = CTImageStorage
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        file.SeriesInstanceUID, file.Modality = series, "CT"
        file.PatientName, file.PatientID = "Simulated^Helix", "HELIX"
        file.InstanceNumber = number + 1
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        # the format stores detector columns as rows of the image
        file.Rows, file.Columns = helix.columns, helix.rows
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.RescaleSlope, file.RescaleIntercept = slope, 0
        file.PixelData = np.round(values.T / slope).astype("<u2").tobytes()
        for group, creator, elements in (
            (
                0x7029,
                "Detector",
                (
                    (0x02, "FL", helix.column_spacing),
                    (0x06, "FL", helix.row_spacing),
                    (0x0B, "CS", "CYLINDRICAL"),
                    (0x10, "US", helix.rows),
                    (0x11, "US", helix.columns),
                ),
            ),
            (
                0x7031,
                "Geometry",
                (
                    (0x01, "FL", angle % (2 * np.pi)),
                    (0x02, "FL", height),
                    (0x03, "FL", helix.radius),
                    (0x31, "FL", helix.detector_distance),
                    (0x33, "FL", [column + 1, row + 1]),  # counted from 1
                ),
            ),
            (
                0x7033,
                "Source",
                (
                    (0x0B, "FL", shift[0]),
                    (0x0C, "FL", shift[1]),
                    (0x0D, "FL", shift[2]),
                    (0x0E, "CS", mode),
                    (0x13, "US", helix.views_per_turn),
                ),
            ),
            (0x7041, "Calibration", ((0x01, "DS", f"{WATER}"),)),
        ):
            file.add_new((group, 0x0010), "LO", creator)
            for element, kind, value in elements:
                file.add_new((group, 0x1000 + element), kind, value)
        file.save_as(folder / f"{number + 1:06}.dcm", enforce_file_format=True)
