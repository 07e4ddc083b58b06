"""The chest of a patient, and axial slices through it in Hounsfield units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_sim.thorax.canvas import N_DIRECTIONS, Array, Canvas, Part, Polar, Waves, part_about
from data_sim.thorax.lungs import Lungs, sample
from data_sim.thorax.mediastinum import Mediastinum
from data_sim.thorax.nodules import Nodule
from data_sim.thorax.skeleton import Skeleton
from data_sim.thorax.wall import Wall
from tomolearn._core.checks import check_float, check_image_shape, check_int
from tomolearn._core.errors import TomolearnError

AIR = -1000.0

REGIONS = ("air", "wall", "mediastinum", "lungs", "nodules")
"""What the labels of `Thorax.regions` stand for, 0 the first; the abdomen counts as mediastinum."""

RADIUS = 175.0
"""A patient fits into a cylinder of this radius in mm about the isocentre."""

# Heights of a standard patient between which slices are taken, in mm: from the lower third of the
# heart, where the liver appears, to the tips of the lungs.
HEIGHTS = (-118.0, 88.0)


@dataclass(frozen=True, eq=False)
class Thorax:
    """The chest of one patient, of which axial slices can be drawn at any height.

    Positions are in mm. x runs along the rows of a slice, from the front to the back of the
    patient, y along the columns, from the patient's right to the left, z towards the head. So with
    row 0 on top a slice looks as radiologists show it: seen from the feet, a patient on the back.
    The isocentre is x = y = 0.

    Parameters
    ----------
    size, tilt, offset : (float, float, float), float, (float, float)
        How much larger than a standard patient this one is along x, y and z; by how many radians
        rolled from x towards y; x and y of the middle.
    wall, skeleton, mediastinum, lungs
        The parts, in coordinates of the standard patient.
    nodules : tuple of Nodule
        In coordinates of the scanner.
    bend, grain, coarse : (Waves, Waves), Waves, Waves
        Displacements along x and y that make outlines irregular; textures of standard deviation 1.
    """

    size: tuple[float, float, float]
    tilt: float
    offset: tuple[float, float]
    wall: Wall
    skeleton: Skeleton
    mediastinum: Mediastinum
    lungs: Lungs
    nodules: tuple[Nodule, ...]
    bend: tuple[Waves, Waves]
    grain: Waves
    coarse: Waves

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest z in mm of the slices that this anatomy is made for."""
        return self.size[2] * HEIGHTS[0], self.size[2] * HEIGHTS[1]

    def slice(
        self,
        z: float,
        shape: Sequence[int],
        spacing: float | Sequence[float],
        *,
        rotation: float = 0.0,
        oversampling: int = 1,
        table: bool = False,
    ) -> NDArray[np.float32]:
        """Draw one axial slice.

        Edges and textures are smooth over a pixel: a coarse slice is nearly the mean of a fine one.

        Parameters
        ----------
        z : float
            Height in mm, see `extent`.
        shape, spacing : (int, int), float or (float, float)
            Rows and columns, about the isocentre, and their distances in mm.
        rotation : float
            Radians by which patient and table are turned about the isocentre from x towards y; a
            quarter turn is `numpy.rot90`.
        oversampling : int
            Each pixel becomes the mean over oversampling x oversampling finer ones.
        table : bool
            Whether the patient lies on a table. It reaches beyond the circle of 175 mm.

        Returns
        -------
        numpy.ndarray of float32, shape ``shape``
            Hounsfield units, -1000 in the air around the patient.

        Raises
        ------
        TypeError, ValueError
            If `z` is not within `extent`, or a size not positive and finite.
        """
        rows, columns = check_image_shape(shape)
        z = self._checked_height(z)
        factor = check_int("oversampling", oversampling, minimum=1)
        pixels = _checked_spacing(spacing)
        angle = check_float("rotation", rotation)
        canvas = self._canvas(z, (rows * factor, columns * factor), pixels / factor, angle)
        if table:
            self.wall.draw_table(canvas, *HEIGHTS)
        self._draw(canvas)
        self._draw_nodules(canvas, z, pixels / factor, angle)
        image = canvas.hu
        if factor > 1:
            image = image.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        return image

    def nodule_mask(
        self,
        index: int,
        z: float,
        shape: Sequence[int],
        spacing: float | Sequence[float],
        *,
        rotation: float = 0.0,
    ) -> NDArray[np.bool_]:
        """Return which pixel centres of a slice lie in the nodule of this index.

        Returns
        -------
        numpy.ndarray of bool, shape ``shape``
            The nodule's section; other arguments are those of `slice`.

        Raises
        ------
        TypeError, ValueError
            As for `slice`, and if there is no nodule of this index.
        """
        index = check_int("index", index, minimum=0)
        if index >= (n := len(self.nodules)):
            raise TomolearnError(f"index: expected one of this patient's {n} nodules, got {index}")
        z = self._checked_height(z)
        x, y = _scanner_coordinates(
            check_image_shape(shape), _checked_spacing(spacing), check_float("rotation", rotation)
        )
        return self.nodules[index].distance(x, y, z) <= 0

    def regions(
        self,
        z: float,
        shape: Sequence[int],
        spacing: float | Sequence[float],
        *,
        rotation: float = 0.0,
    ) -> NDArray[np.uint8]:
        """Return labels of the pixel centres of a slice, as `REGIONS` names them.

        Vessels and bronchi belong to what they are in, ribs and spine to the wall.

        Returns
        -------
        numpy.ndarray of uint8, shape ``shape``
            Labels; arguments are those of `slice`.

        Raises
        ------
        TypeError, ValueError
            As for `slice`.
        """
        z = self._checked_height(z)
        pixels, angle = _checked_spacing(spacing), check_float("rotation", rotation)
        canvas = self._canvas(z, check_image_shape(shape), pixels, angle)
        labels = np.zeros(canvas.shape, dtype=np.uint8)
        outlines, middle = self.wall.outlines(canvas.z), self.wall.middle(canvas.z)
        part = canvas.window(middle, 0.0, float(outlines["body"].max()))
        if part is None:
            return labels
        polar, inside = Polar(canvas, part, middle), labels[part]
        pleura = polar.outside(outlines["pleura"])
        inside[polar.outside(outlines["body"]) <= 0] = REGIONS.index("wall")
        inside[pleura <= 0] = REGIONS.index("mediastinum")
        inside[self._lungs_outline(canvas, part, pleura)[0] <= 0] = REGIONS.index("lungs")
        for k in range(len(self.nodules)):
            mask = self.nodule_mask(k, z, shape, spacing, rotation=rotation)
            labels[mask] = REGIONS.index("nodules")
        return labels

    def lung_points(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Draw points in both lungs, 5 mm or more from their border: (x, y, z), shape (n, 3)."""
        parts = self.wall, self.skeleton, self.mediastinum
        points = rng.permutation(np.concatenate([sample(rng, n, k, *parts, 5.0) for k in (-1, 1)]))
        points = points[:n] * self.size
        return np.column_stack((points[:, :2] @ turn(self.tilt).T + self.offset, points[:, 2]))

    def _checked_height(self, z: float) -> float:
        z = check_float("z", z)
        low, high = self.extent
        if not low <= z <= high:
            raise TomolearnError(f"z: expected a height from {low:.1f} to {high:.1f} mm, got {z:g}")
        return z

    def _canvas(
        self, z: float, shape: tuple[int, int], spacing: NDArray[np.float64], rotation: float
    ) -> Canvas:
        """Return a canvas in coordinates of the standard patient."""
        # Scanner -> unturned patient -> without tilt and size: one affine map.
        back = turn(-self.tilt) / np.array(self.size[:2])[:, None]
        steps = back @ turn(-rotation) @ np.diag(spacing)
        middle = (np.array(shape) - 1) / 2
        origin = -steps @ middle - back @ np.array(self.offset)
        canvas = Canvas(shape, origin, steps, z / self.size[2], AIR)
        canvas.warp(*self.bend)
        return canvas

    def _draw(self, canvas: Canvas) -> None:
        outlines = self.wall.outlines(canvas.z)
        middle = self.wall.middle(canvas.z)
        part = canvas.window(middle, 0.0, float(outlines["body"].max()))
        if part is None:
            return
        polar = Polar(canvas, part, middle)
        grain, coarse = canvas.waves(self.grain, part), canvas.waves(self.coarse, part)
        streaks = np.float32(0.8) * coarse + np.float32(0.6) * grain
        self.wall.draw(canvas, part, polar, outlines, streaks)
        self.skeleton.draw_wall(canvas, part, polar, outlines["cage"])
        self.skeleton.draw_front(canvas, outlines["cage"])
        pleura = polar.outside(outlines["pleura"])
        self._draw_inside(canvas, part, pleura, grain, coarse)
        back = middle + float(outlines["body"][N_DIRECTIONS // 2])
        self.skeleton.draw_spine(canvas, back)

    def _draw_inside(
        self, canvas: Canvas, part: Part, pleura: Array, grain: Array, coarse: Array
    ) -> None:
        lungs, abdomen = self._lungs_outline(canvas, part, pleura)
        if abdomen:
            self.mediastinum.draw_abdomen(canvas, coarse, part, pleura)
        self.mediastinum.draw(canvas)
        self.lungs.draw(canvas, part, lungs, grain, coarse, 0.9 * self.mediastinum.right_heart)

    def _lungs_outline(self, canvas: Canvas, part: Part, pleura: Array) -> tuple[Array, bool]:
        """Return distances to the outline of the lungs, and whether the abdomen reaches here."""
        organs = self.mediastinum.outline(canvas, part, self.skeleton)
        lungs = np.maximum(pleura + np.float32(0.8), -organs)
        domes = self.mediastinum.domes_outline(canvas, part)
        if domes is None:
            return lungs, False
        return np.maximum(lungs, -domes), True

    def _draw_nodules(
        self, canvas: Canvas, z: float, spacing: NDArray[np.float64], rotation: float
    ) -> None:
        h = float(np.sqrt(spacing.prod()))
        for nodule in self.nodules:
            if nodule.scale(z) == 0:
                continue
            place = turn(rotation) @ np.array(nodule.centre[:2])
            middle = place / spacing + (np.array(canvas.shape) - 1) / 2
            reach = (1.6 * max(nodule.semi_axes[:2]) + h) / spacing
            part = part_about(middle, reach, canvas.shape)
            if part is None:
                continue
            x, y = _scanner_coordinates(canvas.shape, spacing, rotation, part)
            distance = nodule.distance(x, y, z)
            inside = np.clip(0.5 - distance / h, 0, 1).astype(np.float32)
            canvas.blend(part, inside, nodule.hu)
            if nodule.kind == "part-solid":
                depth = 0.5 * min(nodule.semi_axes[:2]) * nodule.scale(z)
                inside = np.clip(0.5 - (distance + depth) / h, 0, 1).astype(np.float32)
                canvas.blend(part, inside, nodule.core)


def turn(angle: float) -> NDArray[np.float64]:
    """Return the matrix of a rotation from x towards y."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _scanner_coordinates(
    shape: tuple[int, int],
    spacing: NDArray[np.float64],
    rotation: float,
    part: Part | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y in mm of pixel centres in the frame that is turned with the patient."""
    rows, columns = part or (slice(0, shape[0]), slice(0, shape[1]))
    x = ((np.arange(rows.start, rows.stop) - (shape[0] - 1) / 2) * spacing[0])[:, None]
    y = (np.arange(columns.start, columns.stop) - (shape[1] - 1) / 2) * spacing[1]
    cos, sin = math.cos(rotation), math.sin(rotation)
    return x * cos + y * sin, y * cos - x * sin


def _checked_spacing(spacing: float | Sequence[float]) -> NDArray[np.float64]:
    pair = (spacing, spacing) if np.ndim(spacing) == 0 else tuple(spacing)  # type: ignore[arg-type]
    if len(pair) != 2:
        raise TomolearnError(f"spacing: expected one or two lengths in mm, got {len(pair)}")
    return np.array([check_float("spacing", s, positive=True) for s in pair])
