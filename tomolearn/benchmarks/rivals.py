"""Other libraries' own ways to project and reconstruct, to measure ours against.

Nothing here is used to compute results. A rival's geometry is as close to ours as its interface
allows; where it has another one, only its time says something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch

from tomolearn._core.optional import optional_import
from tomolearn.geometry import Grid, ParallelBeam, RotationScan, Scan
from tomolearn.operators.base import LinearOperator


class Rival(NamedTuple):
    """Projection and its adjoint of another library, on tensors (batch, rows, columns).

    `backproject` is the back-projection of FBP, if there is one by itself.
    """

    forward: Callable[[torch.Tensor], Any]
    adjoint: Callable[[torch.Tensor], Any]
    backproject: Callable[[torch.Tensor], Any] | None = None


def _parallel_square(scan: Scan, grid: Grid) -> TypeGuard[RotationScan]:
    return isinstance(scan, RotationScan) and scan.is_parallel and grid.shape[0] == grid.shape[1]


def scikit_image(grid: Grid, scan: Scan) -> Rival | None:
    """Return scikit-image's ``radon`` and unfiltered ``iradon``; its detector is its own choice."""
    if not _parallel_square(scan, grid):
        return None
    transform = optional_import(
        "skimage.transform", purpose="the rival", install="pip install scikit-image"
    )
    degrees = np.rad2deg(scan.view_angles)
    size = grid.shape[0]

    def forward(images: torch.Tensor) -> Any:
        return [transform.radon(image, degrees, circle=False) for image in images.numpy()]

    def adjoint(sinograms: torch.Tensor) -> Any:
        return [
            transform.iradon(s.T, degrees, filter_name=None, circle=False, output_size=size)
            for s in sinograms.numpy()
        ]

    return Rival(forward, adjoint)


def torchtomo(grid: Grid, scan: Scan) -> Rival | None:
    """Return torchtomo's parallel beam with its exact adjoint; its detector is its own choice."""
    if not _parallel_square(scan, grid):
        return None
    module = optional_import("torchtomo", purpose="the rival", install="pip install torchtomo")
    projector = module.ParallelBeam(
        grid.shape[0],
        scan.n_angles,
        circle=False,
        angles=torch.from_numpy(scan.view_angles).float(),
    )
    return _on_own_detector(grid, projector, projector.adjoint)


def deepinv(grid: Grid, scan: Scan) -> Rival | None:
    """Return deepinv's ``Tomography`` with its exact adjoint; its detector is its own choice."""
    if not _parallel_square(scan, grid):
        return None
    physics = optional_import("deepinv.physics", purpose="the rival", install="pip install deepinv")
    projector = physics.Tomography(
        angles=torch.from_numpy(np.rad2deg(scan.view_angles)).float(),
        img_width=grid.shape[0],
        circle=False,
        normalize=False,
        adjoint_via_backprop=True,
    )
    return _on_own_detector(grid, projector.A, projector.A_adjoint)


def _on_own_detector(
    grid: Grid, forward: Callable[[torch.Tensor], Any], adjoint: Callable[[torch.Tensor], Any]
) -> Rival:
    sinograms: dict[int, torch.Tensor] = {}

    def adjoint_of_own(given: torch.Tensor) -> Any:
        if len(given) not in sinograms:  # at the first, uncounted call
            sinograms[len(given)] = forward(torch.rand(len(given), 1, *grid.shape))
        return adjoint(sinograms[len(given)])

    return Rival(lambda images: forward(images[:, None]), adjoint_of_own)


RIVALS: dict[str, Callable[[Grid, Scan], Rival | None]] = {
    "scikit-image": scikit_image,
    "torchtomo": torchtomo,
    "deepinv": deepinv,
}
"""Name -> maker; it returns None where the rival has no such scan, and raises ImportError."""


def astra_fbp(grid: Grid, scan: ParallelBeam, sinogram: torch.Tensor) -> torch.Tensor:
    """Reconstruct one slice, square pixels, by ASTRA's filtered back-projection on a CPU (Ram-Lak).

    The sinogram is (angles, detectors), float32; the image (rows, columns) is in ASTRA's units,
    which are those of a grid of unit pixels.
    """
    import astra

    from tomolearn.operators.backends.astra_geometry import plane_geometries

    volume, _ = plane_geometries(grid, scan)
    # its FBP takes angles, not vectors
    projection = astra.create_proj_geom(
        "parallel",
        scan.detector_spacing / grid.spacing[0],
        scan.n_detectors,
        scan.view_angles - np.pi / 2,
    )
    image = torch.zeros(grid.shape)
    projector = astra.projector.create(
        {"type": "linear", "VolumeGeometry": volume, "ProjectionGeometry": projection}
    )
    sinogram_id = astra.data2d.link("-sino", projection, sinogram.contiguous().numpy())
    image_id = astra.data2d.link("-vol", volume, image.numpy())
    algorithm = astra.algorithm.create(
        {
            "type": "FBP",
            "ProjectorId": projector,
            "ProjectionDataId": sinogram_id,
            "ReconstructionDataId": image_id,
            "option": {"FilterType": "ram-lak"},
        }
    )
    try:
        astra.algorithm.run(algorithm)
    finally:
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([sinogram_id, image_id])
        astra.projector.delete(projector)
    return image


def odl_pdhg(
    grid: Grid, scan: Scan, sinogram: torch.Tensor, weight: float, iterations: int, norm: float
) -> torch.Tensor:
    """Minimise ``||A x - y||**2 + weight * TV(x)`` by ODL's own PDHG on ASTRA's CPU projectors.

    The sinogram is (angles, detectors), float32; `norm` is that of the ray transform on plain sums,
    for the step sizes. Returns an image (rows, columns).
    """
    import odl

    space = grid.to_odl()
    ray = odl.applications.tomo.RayTransform(space, scan.to_odl(), impl="astra_cpu")
    gradient = odl.Gradient(space, method="forward", pad_mode="symmetric")
    cell, bin_ = space.weighting.const, ray.range.weighting.const
    # ODL's norms carry the weights of pixels and bins: divided out, the sums are plain ones
    data = odl.functionals.L2NormSquared(ray.range).translated(ray.range.element(sinogram.numpy()))
    variation = odl.functionals.GroupL1Norm(gradient.range)
    pixel = grid.spacing[0]
    operator = odl.BroadcastOperator(ray, gradient)
    # the factor in front: behind it, ODL scales the argument
    functional = odl.functionals.SeparableSum(
        (1.0 / bin_) * data, (weight * pixel / cell) * variation
    )
    ray_norm = norm * np.sqrt(bin_ / cell)
    bound = np.sqrt(ray_norm**2 + 8.0 / pixel**2)
    x = space.zero()
    odl.solvers.pdhg(
        x,
        odl.functionals.ZeroFunctional(space),
        functional,
        operator,
        niter=iterations,
        tau=0.99 / bound,
        sigma=0.99 / bound,
    )
    return torch.from_numpy(np.array(x.asarray(), dtype=np.float32))


class _OdlLayer(LinearOperator):
    """A linear ODL operator in ODL's torch layer, which has the gradients, too."""

    def __init__(self, operator: Any, factor: float) -> None:
        from odl.contrib.torch import OperatorModule

        super().__init__(operator.domain.shape, operator.range.shape)
        self.layer, self.factor = OperatorModule(operator), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply ODL's layer to a float32 tensor (batch, ..., *domain_shape)."""
        values = self.layer(x)
        return values if self.factor == 1.0 else self.factor * values

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.T(y)


def odl_torch(grid: Grid, scan: Scan) -> LinearOperator:
    """Return ODL's ray transform in ODL's own torch layer, on ASTRA's CPU projectors.

    It stands where our networks want an operator, but neither its values nor its gradients pass
    through our code: `odl.contrib.torch.OperatorModule` computes both, of the ray transform and of
    its adjoint. Its transpose is ODL's adjoint without the weights of ODL's inner products.
    """
    import odl

    ray = odl.applications.tomo.RayTransform(
        grid.to_odl("float32"), scan.to_odl(), impl="astra_cpu"
    )
    weight = ray.domain.weighting.const / ray.range.weighting.const
    forward, transpose = _OdlLayer(ray, 1.0), _OdlLayer(ray.adjoint, weight)
    # as `LinearOperator.T` does: an attribute would make each a submodule of the other
    forward.__dict__["_transpose"], transpose.__dict__["_transpose"] = transpose, forward
    return forward
