"""The ray transform of a scanner."""

from __future__ import annotations

import math
import warnings
from typing import Any, Self

import numpy as np
import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, UnitWarning
from tomolearn._core.fork import ForkSafeLock
from tomolearn._core.memory import Arrays, check_fits
from tomolearn._core.telling import warn_user
from tomolearn._core.tensors import check_real_tensor, check_trailing_shape, is_followed
from tomolearn.geometry import CoverageWarning, Grid, RotationScan, Scan
from tomolearn.geometry.coverage import is_missed, line_gap, sources_inside, views_missing
from tomolearn.operators.autograd import apply_made, maker
from tomolearn.operators.backends import BACKENDS, Backend, choose_backend
from tomolearn.operators.backprojection import backproject, backprojection_of, check_dimensions
from tomolearn.operators.base import LinearOperator, at_least_float32
from tomolearn.operators.memory import check_memory

# A grid in metres beside a scan in millimetres is a thousand times too small.
_LARGEST_MARGIN = 100.0
_IMAGE, _SINOGRAM = Arrays(1, 0), Arrays(0, 1)


class RayTransform(LinearOperator):
    """Line integrals of an image along the rays of a scan.

    Maps images ``(..., *grid.shape)`` in 1/mm to sinograms ``(..., *scan.shape)``, which are
    dimensionless. The computation follows the input's device: the Joseph kernels on a CPU,
    ASTRA's CUDA projectors on a GPU.

    Parameters
    ----------
    grid : Grid
        The image's grid.
    scan : Scan
        `ParallelBeam`, `FanBeam`, `ConeBeam` or `Views`, of the same dimension as the grid.
    backend : {"auto", "joseph", "astra", "odl", "tomosipo"}, optional
        Who computes the rays. Default: the fastest that can on the input's device.
    rays_per_bin : int, optional
        A bin measures the mean of so many rays, evenly spread over its width along the detector's
        last axis. Default: 1, the ray through its middle, which is right where bins are no wider
        than pixels; for wider ones take the ratio of their widths at the rotation axis, or more.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, grid and scan differ in dimension, a source
        lies within the grid, or no ray meets it, or an image or a sinogram is larger than the
        machine's memory. When it is applied, if its result and working memory are larger than what
        is available then.

    Warns
    -----
    CoverageWarning
        If the detector misses part of the circle that fits into the grid, unless it is moved aside
        and sees the same lines from the other end, or in a circular cone beam an end of the
        volume's middle line.
    UnitWarning
        If the grid is so much smaller than what the detector sees that it may be in metres.

    Notes
    -----
    Joseph's method [1]_: a ray is sampled where it crosses the rows (or the columns, if it
    crosses more of them), with linear interpolation between the two pixels next to the crossing.
    Where a pixel is crossed by fewer rays than one, what bins measure between them is not seen, and
    iterative methods (`cgls` above all) amplify it: `rays_per_bin` is for that. The adjoint spreads
    the value of a bin over its rays.

    The backends "joseph" and "astra" agree on it, but for ASTRA's fan beam on a CPU, which
    measures the exact length of the ray in every pixel instead.

    References
    ----------
    .. [1] P. M. Joseph, An improved algorithm for reprojecting rays through pixel images,
       IEEE Trans. Med. Imaging 1 (1982), doi 10.1109/TMI.1982.4307572.

    Examples
    --------
    >>> grid = Grid(shape=(64, 64), spacing=1.0)
    >>> A = RayTransform(grid, ParallelBeam.covering(grid, 30))
    >>> A(torch.ones(2, 1, 64, 64)).shape
    torch.Size([2, 1, 30, 93])
    """

    def __init__(
        self,
        grid: Grid,
        scan: Scan,
        backend: str = "auto",
        *,
        rays_per_bin: int = 1,
        _is_derived: bool = False,
    ) -> None:
        check_dimensions(grid, scan)
        rays_per_bin = check_int("rays_per_bin", rays_per_bin, minimum=1)
        rays = (*scan.shape, rays_per_bin)
        for name, shape in (("grid", grid.shape), ("scan", rays)):
            check_fits(name, math.prod(shape) * torch.float32.itemsize)
        if sources_inside(grid, scan):
            raise TomolearnError(
                "scan: expected every source outside of the grid, got one inside; choose a larger "
                "source_to_isocenter or a smaller grid"
            )
        if not _is_derived and is_missed(grid, scan):
            raise TomolearnError(
                "scan: expected rays that meet the grid, got none in any view; its detector and "
                "the grid are where detector_offset, start_z and center say, in mm"
            )
        if backend != "auto" and backend not in BACKENDS:
            raise TomolearnError(
                f"backend: expected auto or one of {', '.join(BACKENDS)}, got {backend!r}"
            )
        super().__init__(grid.shape, scan.shape)
        self.grid, self.scan, self.backend = grid, scan, backend
        self.rays_per_bin = rays_per_bin
        self._rays = scan
        if rays_per_bin > 1:
            self._rays = scan.with_columns(rays_per_bin * scan.shape[-1], 1 / rays_per_bin, 0.0)
        self._backends: dict[str, Backend] = {}
        self._lock = ForkSafeLock()
        _warn_of_gap(grid, scan)

    @classmethod
    def derived(cls, grid: Grid, scan: Scan, backend: str, rays_per_bin: int = 1) -> Self:
        """Return the ray transform of a scan that was derived from another one.

        There is no warning of a detector that is too small, and no error if no ray meets the grid:
        whoever made the transform of the scan from which this one is derived has been told.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)
            warnings.simplefilter("ignore", UnitWarning)
            return cls(grid, scan, backend, rays_per_bin=rays_per_bin, _is_derived=True)

    def backend_on(self, device: torch.device | str) -> Backend:
        """Return the backend that computes on `device`.

        Raises
        ------
        ValueError
            If none can; the message says why and which could.
        ImportError
            If the package of the requested backend is not installed.
        """
        kind = torch.device(device).type
        with self._lock:
            if kind not in self._backends:
                backend = choose_backend(self.backend, self.grid, self._rays, torch.device(device))
                self._backends[kind] = backend(self.grid, self._rays)
            return self._backends[kind]

    @property
    def adjoint_is_exact(self) -> bool:  # type: ignore[override]
        """Whether `adjoint` is the transpose up to rounding, on the devices used so far."""
        if not self._backends:
            try:
                self.backend_on("cpu")
            except ValueError:  # only GPUs project this, and none of their adjoints is exact
                return False
        # a list, as another thread may add a backend meanwhile
        return all(backend.adjoint_is_exact for backend in list(self._backends.values()))

    def _norm_device(self) -> torch.device:
        try:
            self.backend_on("cpu")
        except ValueError:
            if torch.cuda.is_available():
                return torch.device("cuda")
        return torch.device("cpu")

    def __getstate__(self) -> dict[str, Any]:
        # backends hold locks and handles of other packages; a copy makes its own on first use
        state = super().__getstate__()
        for name in ("_backends", "_lock"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._backends = {}
        self._lock = ForkSafeLock()

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output, for values of so many bytes, as far as known.

        It is that of a CPU.
        """
        per_bin = 0 if self.rays_per_bin == 1 else self.rays_per_bin
        rays = batch * per_bin * math.prod(self.range_shape)
        try:
            backend = self.backend_on("cpu")
        except ValueError:  # nobody projects it there
            return itemsize * rays
        return itemsize * rays + backend.working_bytes(itemsize, batch)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        check_memory("operator", self, _SINOGRAM, len(x), x)
        rays = self.backend_on(x.device).forward(x)
        if self.rays_per_bin == 1:
            return rays
        return rays.unflatten(-1, (-1, self.rays_per_bin)).mean(-1)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        check_memory("operator", self, _IMAGE, len(y), y)
        if self.rays_per_bin > 1:
            y = (y / self.rays_per_bin).repeat_interleave(self.rays_per_bin, -1)
        return self.backend_on(y.device).adjoint(y)

    def backproject(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Return the pixel-driven back-projection that filtered back-projection needs.

        Every pixel gets the sum over the views of the sinogram, linearly interpolated where the
        ray through the pixel meets the detector. In a fan or cone beam each view is weighted by
        ``(source_to_isocenter / distance)**2``, the distance from the source being taken along
        the central ray (flat detector) or to the pixel (curved detector). It is not the
        transpose of the operator; `adjoint` is. On a CPU, positions on a curved detector are
        good to 3e-8 of a radian, whatever the precision.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *scan.shape)
            Real floating-point tensor.

        Returns
        -------
        torch.Tensor, shape (..., *grid.shape)
        """
        check_real_tensor("sinogram", sinogram)
        check_trailing_shape("sinogram", sinogram, self.range_shape)
        sinogram = at_least_float32(sinogram)
        leading = sinogram.shape[: sinogram.ndim - len(self.range_shape)]
        if torch.compiler.is_compiling():
            return apply_made(sinogram, self, "backproject", "", [*leading, *self.domain_shape])
        flat = sinogram.reshape(-1, *self.range_shape).contiguous()
        check_memory("operator", self, _IMAGE, len(flat), flat)
        image = None if is_followed(sinogram) else self._backproject_fast(flat)
        if image is None:
            image = backproject(flat, self.grid, self.scan)
        return image.reshape(*leading, *self.domain_shape)

    def _backproject_fast(self, sinograms: torch.Tensor) -> torch.Tensor | None:
        if self.rays_per_bin > 1:  # the backend is that of the rays, and this is of bins
            return None
        try:
            backend = self.backend_on(sinograms.device)
        except ValueError:
            # nobody projects this scan on this device, but torch can back-project it
            return None
        return backend.backproject(sinograms)

    def extra_repr(self) -> str:
        """Return grid, scan and backend, for ``repr``."""
        width = f", rays_per_bin={self.rays_per_bin}" if self.rays_per_bin > 1 else ""
        return f"{self.grid}, {self.scan}, backend={self.backend!r}{width}"


class _PixelDriven(LinearOperator):
    """The back-projection of a ray transform, which has fast ones, as an operator."""

    def __init__(self, transform: RayTransform) -> None:
        super().__init__(transform.range_shape, transform.domain_shape)
        self.transform = transform

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.transform.backproject(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return backprojection_of(self.transform.grid, self.transform.scan)._evaluate_adjoint(y)


@maker("backproject")
def _pixel_driven(transform: RayTransform, text: str) -> LinearOperator:
    return _PixelDriven(transform)


def _warn_of_gap(grid: Grid, scan: Scan) -> None:
    gap = line_gap(grid, scan)
    if math.isinf(gap):
        message = (
            "part of the grid's inscribed circle lies beside or behind the source in some views; "
            "choose a larger source_to_isocenter or a smaller grid"
        )
    elif gap > 1e-6 * grid.radius:
        remedy = "more or larger bins see it whole"
        if isinstance(scan, RotationScan):
            remedy = f"{type(scan).__name__}.covering(grid, ...) chooses one that covers the grid"
        # without a number where the axis may be searched for: one text is shown once
        size = "" if _is_moved(scan) else f"by {gap:.4g} mm "
        message = f"the detector misses the grid's inscribed circle {size}in some views; {remedy}"
        missing = views_missing(scan)
        if missing:
            message += (
                f", or views all around, of which {math.degrees(missing):.4g} degrees are missing, "
                "see these lines by the longer side of the detector"
            )
    else:
        if -gap > _LARGEST_MARGIN * grid.radius:
            warn_user(
                f"grid: its radius of {grid.radius:.3g} mm is {-gap / grid.radius:.0f} times "
                "smaller than the rest of the detector; lengths of grid and scan are both in mm",
                UnitWarning,
            )
        return
    warnings.warn(message, CoverageWarning, stacklevel=3)


def _is_moved(scan: Scan) -> bool:
    return isinstance(scan, RotationScan) and bool(np.any(scan.detector_offset))
