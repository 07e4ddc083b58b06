"""Cone-beam projectors of other libraries, to measure ours against on a CPU.

Nothing here is used to compute results. Each maker hands the same volume and the same rays to its
library; how a ray's integral is made of voxels is the library's own choice, and so is FDK's filter.
Times contain the conversion to the library's arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from itertools import combinations
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.geometry import ConeBeam, Grid, Scan
from tomolearn.operators import RayTransform


class SpaceRival(NamedTuple):
    """Another library's operations on float32 arrays of one volume and of its views.

    Volumes are (slices, rows, columns), views (angles, rows, columns); `fdk` is None where the
    library has none.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    adjoint: Callable[[np.ndarray], np.ndarray]
    fdk: Callable[[np.ndarray], np.ndarray] | None = None


def rtk(grid: Grid, scan: Scan) -> SpaceRival | None:
    """Return the projectors of the Reconstruction Toolkit (https://www.openrtk.org), C++ on ITK.

    Joseph's projection, the back-projection with the same weights, FDK; for circles with a flat
    detector in the middle.
    """
    if not _on_plain_circle(scan) or any(scan.detector_offset):
        return None
    itk = _imported("itk", "itk-rtk")
    if not hasattr(itk, "RTK"):
        raise ImportError("the rival needs RTK in itk: pip install itk-rtk")
    module = itk.RTK
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    kind = itk.Image[itk.F, 3]
    geometry = module.ThreeDCircularProjectionGeometry.New()
    for angle in np.rad2deg(scan.view_angles).tolist():
        geometry.AddProjection(scan.source_to_isocenter, scan.source_to_detector, angle)
    dz, dx, dy = grid.spacing
    z, x, y = (axis[0] for axis in grid.coordinates())
    rows, columns = scan.detector_positions

    def image(values: np.ndarray, spacing: Any, origin: Any) -> Any:
        made = itk.image_from_array(np.ascontiguousarray(values, np.float32))
        made.SetSpacing(spacing)
        made.SetOrigin([float(o) for o in origin])
        return made

    # RTK turns about its second axis: its (x, y, z) are our (x, z, -y)
    def volume(values: np.ndarray) -> Any:
        turned = values.transpose(2, 0, 1)[::-1]
        return image(turned, (dx, dz, dy), (x, z, y - 2 * grid.center[2]))

    def views(values: np.ndarray) -> Any:
        row_step, column_step = scan.detector_spacing
        return image(values, (column_step, row_step, 1.0), (columns[0], rows[0], 0.0))

    def computed(filter_: Any, *inputs: Any) -> np.ndarray:
        for number, given in enumerate(inputs):
            filter_.SetInput(number, given)
        filter_.SetGeometry(geometry)
        filter_.Update()
        found: np.ndarray = itk.array_view_from_image(filter_.GetOutput())
        return found

    def turned_back(found: np.ndarray) -> np.ndarray:
        return found[::-1].transpose(1, 2, 0)

    # what RTK adds to is made anew for each call: its filters overwrite it
    def nothing(of: Callable[[np.ndarray], Any], shape: tuple[int, ...]) -> Any:
        return of(np.zeros(shape, np.float32))

    def forward(values: np.ndarray) -> np.ndarray:
        project = module.JosephForwardProjectionImageFilter[kind, kind].New()
        return computed(project, nothing(views, scan.shape), volume(values)).copy()

    def adjoint(values: np.ndarray) -> np.ndarray:
        project = module.JosephBackProjectionImageFilter[kind, kind].New()
        return turned_back(computed(project, nothing(volume, grid.shape), views(values))).copy()

    def fdk(values: np.ndarray) -> np.ndarray:
        reconstruct = module.FDKConeBeamReconstructionFilter[kind].New()
        return turned_back(computed(reconstruct, nothing(volume, grid.shape), views(values))).copy()

    return SpaceRival(forward, adjoint, fdk)


def leap(grid: Grid, scan: Scan) -> SpaceRival | None:
    """Return LEAP's projectors (https://github.com/LLNL/LEAP), C++ with OpenMP.

    Separable footprints in both directions, FDK; for circles with a flat detector and voxels whose
    rows and columns are as far apart. LEAP uses all cores, whatever torch's number of threads is.
    """
    _, row_step, column_step = grid.spacing
    if not _on_plain_circle(scan) or row_step != column_step:
        return None
    module = _imported("leapctype", "", "it is built from https://github.com/LLNL/LEAP")
    models = module.tomographicModels()
    models.set_log_error()
    z, x, y = grid.center
    slices, rows, columns = grid.shape
    models.set_GPU(-1)  # none; it is refused where LEAP was built without CUDA
    accepted = (
        models.set_conebeam(
            *scan.shape,
            *scan.detector_spacing,
            scan.level_row,
            scan.center_bin,
            np.rad2deg(scan.view_angles).astype(np.float32),
            scan.source_to_isocenter,
            scan.source_to_detector,
        )
        # its x and y are ours
        and models.set_volume(rows, columns, slices, row_step, grid.spacing[0], x, y, z)
        and models.set_diameterFOV(4 * grid.radius)  # all of the grid: no mask
    )
    if not accepted:
        raise TomolearnError(f"scan: expected one that LEAP takes, got {scan!r} with {grid!r}")

    # of the two orders of its volumes the one in which its CPU kernels work: [x, y, z]
    models.set_volumeDimensionOrder(0)

    def forward(values: np.ndarray) -> np.ndarray:
        turned = np.ascontiguousarray(values.transpose(1, 2, 0))
        found: np.ndarray = models.project_cpu(np.zeros(scan.shape, np.float32), turned)
        return found

    def image_of(operation: Callable[..., Any], views: np.ndarray) -> np.ndarray:
        found = np.zeros((rows, columns, slices), np.float32)
        # of a copy: it weights the views in place and divides the weights out again
        operation(views.copy(), found)
        return np.ascontiguousarray(found.transpose(2, 0, 1))

    def adjoint(values: np.ndarray) -> np.ndarray:
        return image_of(models.backproject_cpu, values)

    def fdk(values: np.ndarray) -> np.ndarray:
        return image_of(models.FBP_cpu, values)

    return SpaceRival(forward, adjoint, fdk)


def mbirjax(grid: Grid, scan: Scan) -> SpaceRival | None:
    """Return mbirjax's projectors (https://mbirjax.readthedocs.io), JAX.

    Separable footprints and their transpose, of which its FDK makes use, too; for circles and
    helices, flat and curved detectors. JAX uses all cores.
    """
    if not isinstance(scan, ConeBeam) or any(grid.center[1:]):
        return None
    module = _imported("mbirjax", "mbirjax")
    slice_step, row_step, column_step = grid.spacing
    row_offset, column_offset = scan.detector_offset
    slices, rows, columns = grid.shape
    model = module.ConeBeamModel(
        scan.shape,
        # its y, along which the source is at angle 0, grows with the rows
        scan.view_angles - np.pi / 2,
        source_detector_dist=scan.source_to_detector,
        source_iso_dist=scan.source_to_isocenter,
        helical_z_shifts=scan.sources()[:, 0],
        use_curved_detector=scan.is_curved,
    )
    model.set_params(
        no_warning=True,
        delta_det_row=scan.detector_spacing[0],
        delta_det_channel=scan.detector_spacing[1],
        det_row_offset=-row_offset,
        det_channel_offset=-column_offset,
        recon_shape=(rows, columns, slices),
        delta_voxel=column_step,
        voxel_row_aspect=row_step / column_step,
        voxel_slice_aspect=slice_step / column_step,
        recon_slice_offset=grid.center[0],
        use_ror_mask=False,
        verbose=0,
    )
    model.configure_devices("cpu")

    def forward(values: np.ndarray) -> np.ndarray:
        return np.array(model.forward_project(values.transpose(1, 2, 0)))

    def adjoint(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(model.back_project(values).transpose(2, 0, 1))

    def fdk(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(model.fdk_recon(values).transpose(2, 0, 1))

    return SpaceRival(forward, adjoint, fdk)


def torchtomo(grid: Grid, scan: Scan) -> SpaceRival | None:
    """Return torchtomo's ``ConeBeam`` (https://github.com/itu-biai/torchtomo), in torch.

    Trilinear samples along each ray and the transpose; any rays from a source. It has no FDK.
    """
    if scan.is_parallel:
        return None
    module = _imported("torchtomo", "torchtomo>=0.5")
    sources, directions = scan.rays()
    projector = module.ConeBeam(
        grid.shape,
        _reversed(sources[:, 0, 0]),
        _reversed(sources + directions),
        grid.spacing,
        grid.center[::-1],
    )

    def forward(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = projector(torch.from_numpy(values)[None, None])[0, 0].numpy()
        return found

    def adjoint(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = projector.adjoint(torch.from_numpy(values)[None, None])[0, 0].numpy()
        return found

    return SpaceRival(forward, adjoint)


def diffct(grid: Grid, scan: Scan) -> SpaceRival | None:
    """Return diffct's projectors (https://github.com/sypsyp97/diffct), its backend in torch.

    Lengths of rays in voxels (Siddon) and the transpose, FDK; any rays from a source to a flat
    detector.
    """
    if scan.is_parallel or scan.is_curved:
        return None
    module = _imported("diffct", "'diffct>=2.5'")
    source, detector, steps = scan.vectors()
    sizes = scan.bin_sizes
    axes = [_reversed(step / size) for step, size in zip(steps, sizes, strict=True)]
    # diffct's grid has its centre at the origin
    points = [_reversed(point - np.array(grid.center)) for point in (source, detector)]
    projector = module.Projector(
        (*points, *axes),
        grid.shape,
        scan.detector_shape,
        detector_spacing=sizes,
        voxel_spacing=grid.spacing,
        backend="torch",
    )

    def forward(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = projector.project(torch.from_numpy(values)).numpy()
        return found

    def adjoint(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = projector.backproject(torch.from_numpy(values)).numpy()
        return found

    if not isinstance(scan, ConeBeam):
        return SpaceRival(forward, adjoint)
    angles = torch.from_numpy(scan.view_angles)

    def fdk(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = module.fdk(
            torch.from_numpy(values).transpose(1, 2),  # it filters along the first axis
            (*points, *axes[::-1]),
            grid.shape,
            angles,
            detector_spacing=sizes[::-1],
            voxel_spacing=grid.spacing,
            isocenter=_reversed(-np.array(grid.center)),
            backend="torch",
        ).numpy()
        return found

    return SpaceRival(forward, adjoint, fdk)


SPACE_RIVALS: dict[str, Callable[[Grid, Scan], SpaceRival | None]] = {
    "rtk": rtk,
    "leap": leap,
    "mbirjax": mbirjax,
    "torchtomo": torchtomo,
    "diffct": diffct,
}
"""Name -> maker; it returns None where the rival has no such scan, and raises ImportError."""

_DISTRIBUTIONS = {"rtk": "itk-rtk", "leap": "leapct"}  # where the name is another
_AGREEMENT = 5.0
"""Largest difference in percent between two discretisations of the same smooth volume."""


def installed_versions() -> dict[str, str]:
    """Return the versions of those rivals in space that are installed, by name."""
    found = {}
    for name in SPACE_RIVALS:
        try:
            found[name] = metadata.version(_DISTRIBUTIONS.get(name, name))
        except metadata.PackageNotFoundError:
            continue
    return found


def differences(name: str, grid: Grid, scan: Scan) -> dict[str, float]:
    """Return how far a rival's projection and adjoint are from ours, in percent of ours.

    By Euclidean norms: of views of a smooth volume, and of what of their back-projection is under
    this volume and its seven mirror images, as the weights of single voxels are uneven in some
    discretisations.

    Raises
    ------
    ValueError
        If they are so far apart that the rival cannot have had the same scan.
    """
    rival = SPACE_RIVALS[name](grid, scan)
    if rival is None:
        raise TomolearnError(f"name: expected a rival with this scan, got {name!r}")
    operator = RayTransform.derived(grid, scan, "joseph")
    x = smooth_volume(grid)
    y = operator(x)
    theirs = torch.from_numpy(rival.adjoint(y.numpy()))
    pairs = {
        "forward": (torch.from_numpy(rival.forward(x.numpy())), y),
        "adjoint": (_under(x, theirs), _under(x, operator.T(y))),
    }
    found = {}
    for what, (one, ours) in pairs.items():
        found[what] = 100 * float((one - ours).norm() / ours.norm())
        if not found[what] < _AGREEMENT:
            raise TomolearnError(
                f"{name}: expected its {what} within {_AGREEMENT:g} % of ours for the same scan, "
                f"got {found[what]:.3g} %; its version is another than the one its adapter in "
                "benchmarks/space_rivals.py was written for (or leave rivals out: --no-rivals)"
            )
    return found


def _under(bump: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
    flips = [axes for count in range(4) for axes in combinations(range(3), count)]
    return torch.stack([(bump.flip(axes) * volume).sum() for axes in flips])


def smooth_volume(grid: Grid) -> torch.Tensor:
    """Return a bump that is nowhere sharp, off the middle and of another width along each axis."""
    bump = torch.ones(())
    for axis, size, shift, width in zip(
        grid.coordinates(), grid.size, (0.1, -0.08, 0.07), (0.16, 0.15, 0.14), strict=True
    ):
        middle = (axis[0] + axis[-1]) / 2 + shift * size
        profile = np.exp(-0.5 * ((axis - middle) / (width * size)) ** 2)
        bump = bump[..., None] * torch.from_numpy(profile).float()
    return bump


def _on_plain_circle(scan: Scan) -> TypeGuard[ConeBeam]:
    return isinstance(scan, ConeBeam) and not (scan.pitch or scan.start_z or scan.is_curved)


def _imported(module: str, requirement: str, how: str = "") -> Any:
    return optional_import(module, purpose="the rival", install=how or f"pip install {requirement}")


def _reversed(vectors: np.ndarray) -> torch.Tensor:
    """Return vectors (..., (z, x, y)) with their components the other way round, in float32.

    Libraries whose volumes [z, y, x] have coordinates (x, y, z) then see our volumes as they are.
    """
    return torch.from_numpy(np.ascontiguousarray(vectors[..., ::-1], np.float32))
