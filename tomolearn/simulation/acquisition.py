"""The one way to simulate a measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid, Scan
from tomolearn.geometry.serialization import geometry_from_dict
from tomolearn.simulation.covering import CoveringScan
from tomolearn.simulation.direct import Direct
from tomolearn.simulation.noise import Noise, noise_from_dict
from tomolearn.simulation.refinement import Refinement

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True)
class Acquisition:
    """A simulated measurement: the scan, its noise, and how finely it is computed.

    It knows no grid, so that one value serves images of any size, in the plane and in space.

    Parameters
    ----------
    scan : Scan, CoveringScan or Direct
        The scanner, one that sees the whole of whatever grid is measured on, or none.
    noise, refinement : Noise, Refinement, optional
        Of each sinogram, for example `PhotonNoise` (default: none); the finer grid that is
        projected from (default: the images' own).

    Examples
    --------
    >>> acquisition = Acquisition(CoveringScan("fan", views=90), PhotonNoise(10_000))
    >>> y = acquisition.measure(image, grid, np.random.default_rng(0))
    """

    scan: Scan | CoveringScan | Direct
    noise: Noise | None = None
    refinement: Refinement | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scan, (Scan, CoveringScan, Direct)):
            raise TomolearnTypeError(
                f"scan: expected a scan, a CoveringScan or Direct, got {type(self.scan).__name__}"
            )
        if self.noise is not None and not callable(self.noise):
            raise TomolearnTypeError(
                "noise: expected GaussianNoise, PhotonNoise or what is called like them, got "
                f"{type(self.noise).__name__}"
            )
        if not isinstance(self.refinement, Refinement | None):
            raise TomolearnTypeError(
                f"refinement: expected a Refinement, got {type(self.refinement).__name__}"
            )

    def scan_of(self, grid: Grid) -> Scan | None:
        """Return the scan of images on this grid; None without a scanner."""
        return self.scan.on(grid) if isinstance(self.scan, CoveringScan) else self._scan

    @property
    def _scan(self) -> Scan | None:
        return self.scan if isinstance(self.scan, Scan) else None

    def simulation_grid(self, grid: Grid) -> Grid:
        """Return the grid that is projected from, over the same region."""
        return grid if self.refinement is None else self.refinement.grid(grid)

    def drawing_grid(self, grid: Grid) -> Grid:
        """Return the grid that phantoms are drawn on: the finer one if images are means of it."""
        return self.simulation_grid(grid) if self._averages else grid

    @property
    def _averages(self) -> bool:
        return self.refinement is not None and self.refinement.interpolation == "average"

    def operator(self, grid: Grid) -> LinearOperator:
        """Return the operator to reconstruct with: the ray transform from the images' grid.

        Without a scanner it is the identity.
        """
        return _operator(grid, self.scan_of(grid))

    def refine(self, images: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Return images on the grid that is projected from.

        Parameters
        ----------
        images : torch.Tensor, shape (..., *grid.shape) or (..., *simulation_grid.shape)
            The latter are returned as they are; with "average" no others are possible, for there
            is no way from means to what they are means of.
        grid : Grid
            Of the images.

        Raises
        ------
        TypeError, ValueError
            If the images are no tensor or of another shape.
        """
        from tomolearn._core.tensors import check_real_tensor
        from tomolearn.simulation.resampling import refine

        check_real_tensor("images", images)
        fine = self.simulation_grid(grid).shape
        if images.shape[-grid.ndim :] == fine:
            return images
        allowed = [fine] if self._averages else [grid.shape, fine]
        if images.shape[-grid.ndim :] not in allowed or self.refinement is None:
            shapes = " or ".join(f"(..., {', '.join(map(str, shape))})" for shape in allowed)
            raise TomolearnError(f"images: expected shape {shapes}, got {tuple(images.shape)}")
        stack = images.reshape(-1, 1, *grid.shape)
        refined = refine(stack, fine, self.refinement.interpolation)
        return refined.reshape(*images.shape[: -grid.ndim], *fine)

    def average(self, fine: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Return the means over each pixel of `grid` of images (..., *simulation_grid.shape).

        Raises
        ------
        ValueError
            If the finer pixels do not fill the grid's, or the shape is another.
        """
        from tomolearn._core.tensors import check_trailing_shape
        from tomolearn.simulation.resampling import average

        fine_grid = self.simulation_grid(grid)
        check_trailing_shape("fine", fine, fine_grid.shape)
        factors = Refinement.factors(grid, fine_grid)
        means = average(fine.reshape(-1, 1, *fine_grid.shape), factors)
        return means.reshape(*fine.shape[: -grid.ndim], *grid.shape)

    def measure(
        self,
        images: torch.Tensor,
        grid: Grid,
        rng: np.random.Generator | Sequence[np.random.Generator] | None = None,
    ) -> torch.Tensor:
        """Simulate the measurement of images.

        Parameters
        ----------
        images, grid
            As for `refine`; several images are projected together.
        rng : numpy.random.Generator, or a sequence of them with one per image
            Draws the noise; independent of what the images were drawn with, see
            `independent_streams`. Not needed without noise.

        Returns
        -------
        torch.Tensor, shape (..., *scan.shape)
            Sinograms on the images' device, which follow the images' gradient if there is no noise.
            The noise of an image with a generator of its own depends on that image alone.

        Raises
        ------
        TypeError, ValueError
            If the images have another shape, or generators are missing or too many or too few.
        """
        fine = self.refine(images, grid)
        sinograms = _operator(self.simulation_grid(grid), self.scan_of(grid))(fine)
        if self.noise is None:
            return sinograms
        import torch

        shape = sinograms.shape[-grid.ndim :]
        flat = sinograms.detach().reshape(-1, *shape).cpu().numpy()
        rngs = [rng] * len(flat) if isinstance(rng, np.random.Generator) else list(rng or ())
        if len(rngs) != len(flat):
            raise TomolearnError(
                f"rng: expected a generator, or one for each of {len(flat)} images, to draw the "
                f"noise with, got {len(rngs)}"
            )
        noisy = [self.noise(one, own) for one, own in zip(flat, rngs, strict=True)]
        return torch.from_numpy(np.stack(noisy)).to(sinograms.device).reshape(sinograms.shape)

    def at_dose(self, dose: float) -> Acquisition:
        """Return the acquisition with so many times the dose.

        Raises
        ------
        TypeError, ValueError
            If the dose is not positive, or the noise does not tell what it does to it.
        """
        changed = getattr(self.noise, "at_dose", None)
        if changed is None:
            raise TomolearnError(
                "dose: expected noise that depends on it, GaussianNoise or PhotonNoise, got "
                f"{self.noise or 'none'}"
            )
        return replace(self, noise=changed(dose))

    def to_dict(self) -> dict[str, Any]:
        """Return scan, noise and refinement, ready for JSON."""
        return {
            "scan": self.scan.to_dict(),
            "noise": None if self.noise is None else self.noise.to_dict(),
            "refinement": None if self.refinement is None else self.refinement.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Acquisition:
        """Build the acquisition from what `to_dict` returned.

        Raises
        ------
        TypeError, ValueError
            If a part is missing, unknown or wrong. Noise has to be of this package.
        """
        if set(values) != {"scan", "noise", "refinement"}:
            raise TomolearnError(
                "acquisition: expected exactly scan, noise and refinement, got "
                f"{', '.join(values) or 'none'}"
            )
        scan, noise, refinement = (values[name] for name in ("scan", "noise", "refinement"))
        known: Any
        if scan.get("type") == Direct.__name__:
            known = Direct()
        elif scan.get("type") == CoveringScan.__name__:
            known = CoveringScan(scan["kind"], scan["views"])
        else:
            known = geometry_from_dict(scan)
        return cls(
            known,
            None if noise is None else noise_from_dict(noise),
            None if refinement is None else Refinement(**refinement),
        )

    def __str__(self) -> str:
        scan = str(self.scan)
        if isinstance(self.scan, Scan):
            scan = f"{type(self.scan).__name__}, {self.scan.shape[0]} views"
        return f"{scan}, {self.noise or 'no noise'}"


# Two of each, to simulate and to reconstruct with; a batch meets one grid after another.
@lru_cache(maxsize=4)
def _operator(grid: Grid, scan: Scan | None) -> LinearOperator:
    from tomolearn.operators import Identity, RayTransform

    return Identity(grid.shape) if scan is None else RayTransform(grid, scan)
