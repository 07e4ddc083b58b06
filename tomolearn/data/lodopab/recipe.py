"""How LoDoPaB-CT makes an image and its observation of a CT slice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.simulation import Acquisition, PhotonNoise, Refinement, Streams, independent_streams

MU_WATER_PER_M = 20.0
"""Linear attenuation of water in 1/m, as the publication has it."""

MU_AIR_PER_M = 0.02
"""Linear attenuation of air in 1/m."""

MU_MAX_PER_M = 3071 * (MU_WATER_PER_M - MU_AIR_PER_M) / 1000 + MU_WATER_PER_M
"""Linear attenuation in 1/m of 3071 HU, 81.35858: what the value 1 of an image stands for."""

# Noise in air does not reach as far; files without a padding value have -2000 or less.
_FILLING = -1500.0
_EXTENT = 260.0
_METRE = 1000.0


@dataclass(frozen=True)
class Recipe:
    """The steps of [1]_ with their numbers; the defaults are the publication's.

    Parameters
    ----------
    slice_size, margin : int
        Rows, and columns, that a slice must have, and how many are cut off on each side: what is
        left fits into the scanner's circle.
    simulated_size : int
        Rows, and columns, of the image that is scanned, interpolated from the image.
    n_angles : int
        Views over a half turn.
    photons, floor : float
        Mean number per detector bin without an object; counts that stand for no photon.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or the margins leave nothing.

    References
    ----------
    .. [1] J. Leuschner, M. Schmidt, D. O. Baguer, P. Maass, "LoDoPaB-CT, a benchmark dataset for
       low-dose computed tomography reconstruction", Sci. Data 8, 109 (2021),
       doi:10.1038/s41597-021-00893-z
    """

    slice_size: int = 512
    margin: int = 75
    simulated_size: int = 1000
    n_angles: int = 1000
    photons: float = 4096
    floor: float = 0.1

    def __post_init__(self) -> None:
        for name in ("slice_size", "simulated_size", "n_angles"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("margin", self.margin, minimum=0)
        for name in ("photons", "floor"):
            check_float(name, getattr(self, name), positive=True)
        if self.size < 2:
            raise TomolearnError(
                f"margin: expected one that leaves pixels of {self.slice_size}, got {self.margin}"
            )

    @property
    def size(self) -> int:
        """Rows, and columns, of the images."""
        return self.slice_size - 2 * self.margin

    @property
    def grid(self) -> Grid:
        """The images' grid: 260 mm wide, whatever the scanner's pixels were."""
        return Grid((self.size, self.size), _EXTENT / self.size)

    @property
    def scan(self) -> ParallelBeam:
        """The scan, that of ODL's ``parallel_beam_geometry``: 513 bins for 362 pixels."""
        return ParallelBeam.covering(self.grid, self.n_angles)

    @property
    def acquisition(self) -> Acquisition:
        """How images are measured, with sinograms in mm."""
        return Acquisition(
            self.scan,
            PhotonNoise(self.photons, MU_MAX_PER_M / _METRE, self.floor / self.photons),
            Refinement("mirrored", shape=(self.simulated_size,) * 2),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def reaches_beyond(self, hounsfield: NDArray[np.floating], padding: NDArray[np.bool_]) -> bool:
        """Return whether the middle of a slice has pixels that the scanner did not measure.

        They are those of `padding`, or filled with Hounsfield units far below air.
        """
        middle = slice(self.margin, self.slice_size - self.margin)
        outside = padding | (hounsfield < _FILLING)
        return bool(outside[middle, middle].any())

    def image(
        self,
        hounsfield: NDArray[np.floating],
        rng: np.random.Generator,
        *,
        padding: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the image of a slice: its middle (size, size), transposed, in [0, 1].

        Parameters
        ----------
        hounsfield : numpy.ndarray, shape (slice_size, slice_size)
            Hounsfield units, whole numbers: one uniform in [0, 1) is added to each.
        rng : numpy.random.Generator
            Draws them.
        padding : numpy.ndarray of bool, same shape, optional
            Where nothing was measured. It becomes 0, as the filling of -2000 and less does.

        Raises
        ------
        ValueError
            If the slice has another shape.
        """
        shape = (self.slice_size, self.slice_size)
        if hounsfield.shape != shape:
            raise TomolearnError(f"hounsfield: expected shape {shape}, got {hounsfield.shape}")
        middle = slice(self.margin, self.slice_size - self.margin)
        values = hounsfield[middle, middle].T.astype(np.float32)
        values += rng.uniform(0.0, 1.0, values.shape)
        values *= (MU_WATER_PER_M - MU_AIR_PER_M) / 1000
        values += MU_WATER_PER_M
        values /= MU_MAX_PER_M
        if padding is not None:
            values[padding[middle, middle].T] = 0
        return np.clip(values, 0.0, 1.0)

    def observations(
        self,
        images: Sequence[NDArray[np.float32]],
        rngs: Sequence[np.random.Generator],
        *,
        device: str | torch.device = "cpu",
    ) -> NDArray[np.float32]:
        """Return low-dose sinograms (images, n_angles, bins), in metres as the files have them.

        Parameters
        ----------
        images : sequence of numpy.ndarray of float32, shape (size, size)
            What is scanned, all at once.
        rngs : sequence of numpy.random.Generator
            Draw the photons, one for each image.
        device : str or torch.device
            Where they are projected.
        """
        stack = torch.from_numpy(np.stack(images)).to(device)
        measured = self.acquisition.measure(stack, self.grid, rngs)
        found: NDArray[np.float32] = (measured / _METRE).cpu().numpy()
        return found

    @staticmethod
    def streams(seed: int, sop_instance_uid: str) -> Streams:
        """Return the random generators of a slice, for its image and its noise.

        They depend on the seed and the slice's UID alone, not on the other slices of a set.
        """
        digest = hashlib.sha256(sop_instance_uid.encode()).digest()
        return independent_streams(seed, int.from_bytes(digest[:16], "big"))
