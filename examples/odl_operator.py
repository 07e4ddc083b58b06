"""An operator of ODL's as a differentiable layer, with an adjoint for plain sums."""

import odl
import torch

from tomolearn import OperatorLayer
from tomolearn.methods import total_variation

space = odl.uniform_discr([-1, -1], [1, 1], (64, 64), dtype="float32")
geometry = odl.applications.tomo.parallel_beam_geometry(space, num_angles=40)
A = OperatorLayer.from_odl(odl.applications.tomo.RayTransform(space, geometry, impl="astra_cpu"))
print(f"{A.domain_shape} -> {A.range_shape}")

# ODL weighs inner products by the size of pixels and bins; the layer does not.
x, y = torch.rand(A.domain_shape), torch.rand(A.range_shape)
left, right = (A(x) * y).sum(), (x * A.adjoint(y)).sum()
print(f"<Ax, y> = {left:.6g}, <x, A.T y> = {right:.6g}")

# Whatever takes an operator takes this one.
truth = torch.from_numpy(odl.core.phantom.shepp_logan(space, modified=True).asarray().copy())
image = total_variation(A(truth), A, weight=1e-4, iterations=200)
print(f"TV: root mean square error {(image - truth).square().mean().sqrt():.4f}")
