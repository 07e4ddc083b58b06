"""Total generalised variation of second order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators import FiniteDifferences, LinearOperator
from tomolearn.operators.differences import relative_scales
from tomolearn.priors.composed import ComposedRegulariser, project_vectors
from tomolearn.priors.prior import PerImage

# Primal step in units of the inverse norm; the dual one has what is left. Found on noise and on
# images with differences of 0.5 to 100 times the weight: other steps take up to ten times as many
# iterations.
_PRIMAL_STEP = 0.1
_LEAST_STEP = 0.03
_RELAXATION = 1.9
# A certificate costs as much as an iteration.
_CHECK_EVERY = 20


class GeneralisedGradient(LinearOperator):
    """The map ``(x, v) -> (grad x - v, E v)`` of an image and a field of vectors.

    ``grad`` are forward differences and ``E v = (Dv + Dv.T) / 2`` is the symmetrised gradient, of
    backward differences. Neither looks across the border: the component of v along an axis has no
    value behind the last pixel of that axis, where the image has no difference, and what would need
    it is zero. Maps ``(..., 1 + ndim, *shape)`` to ``(..., ndim + ndim (ndim + 1) / 2, *shape)``:
    the vectors, the diagonal of E v, and sqrt(2) times what is above it, row by row, so that the
    length of the latter two is Frobenius' norm of E v.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image.
    spacing : sequence of float
        Distance of neighbouring pixels along each axis.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float]) -> None:
        shape = tuple(shape)
        n = len(shape)
        super().__init__((1 + n, *shape), (n + n * (n + 1) // 2, *shape))
        self.spacing = tuple(spacing)
        self.pairs = tuple(combinations(range(n), 2))
        self.gradient = FiniteDifferences(shape, self.spacing)

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return an upper bound of the largest singular value, in closed form.

        With the norm d of the gradient it is that of the matrix ((d, 1), (0, d)), at most a few per
        cent above the largest singular value. The parameters change nothing here.
        """
        square = self.gradient.norm() ** 2
        return math.sqrt(square + 0.5 + math.sqrt(square + 0.25))

    def field_part(self, v: torch.Tensor) -> torch.Tensor:
        """Return what vectors (batch, ndim, *shape) contribute: ``(-v, E v)``."""
        n = v.shape[1]
        out = v.new_zeros((len(v), *self.range_shape))
        for k in range(n):
            inner = _narrow(v, k, k, 0, -1)
            _narrow(out, k, k, 0, -1).sub_(inner)
            _add_backward(inner, _narrow(out, n + k, k, 0, -1), k, 1 / self.spacing[k])
        for m, (j, k) in enumerate(self.pairs, start=2 * n):
            for component, axis in ((j, k), (k, j)):
                inner = _narrow(v, component, component, 0, -1)
                target = _narrow(out, m, component, 0, -1)
                _add_backward(inner, target, axis, math.sqrt(0.5) / self.spacing[axis])
        return out

    def field_adjoint(self, y: torch.Tensor, *, of_gradient: bool = True) -> torch.Tensor:
        """Return the transpose of `field_part`, or that of E alone."""
        n = len(self.spacing)
        out = y.new_zeros((len(y), n, *self.range_shape[1:]))
        for k in range(n):
            target = _narrow(out, k, k, 0, -1)
            if of_gradient:
                target.sub_(_narrow(y, k, k, 0, -1))
            _add_backward_adjoint(_narrow(y, n + k, k, 0, -1), target, k, 1 / self.spacing[k])
        for m, (j, k) in enumerate(self.pairs, start=2 * n):
            for component, axis in ((j, k), (k, j)):
                source = _narrow(y, m, component, 0, -1)
                target = _narrow(out, component, component, 0, -1)
                _add_backward_adjoint(source, target, axis, math.sqrt(0.5) / self.spacing[axis])
        return out

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        out = self.field_part(x[:, 1:])
        out[:, : len(self.spacing)].add_(self.gradient._evaluate(x[:, 0]))
        return out

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        image = self.gradient._evaluate_adjoint(y[:, : len(self.spacing)])
        return torch.cat((image.unsqueeze(1), self.field_adjoint(y)), 1)


class TotalGeneralisedVariation(ComposedRegulariser):
    """Total generalised variation of second order, for piecewise affine images.

    ``min over v of ||grad x - v|| + ratio * ||E v||`` with a field of vectors v, its symmetrised
    gradient E v, and the sums over the pixels of the lengths of vectors and symmetric matrices
    [1]_. Where an image is affine it costs nothing, where it has edges it is total variation, so
    that ramps come out without the staircases of total variation. It is convex.

    Differences are forward in the image and backward in v, in units of the geometric mean of the
    distances of the pixels, and none is taken across the border. Value and proximal map are
    computed by the primal-dual method [2]_, without gradients, until a feasible point of the dual
    problem proves the tolerance.

    Parameters
    ----------
    ratio : float
        Weight of the second order in relation to the first, in pixels; positive.
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.
    spacing : float or sequence of float, optional
        Distance of neighbouring pixels, one number or one per axis. Default: the same for all.
    tolerance : float
        Of the proximal map: bound of its distance from the exact one, relative to the norm of the
        image. Of the value: bound of how far it is above the exact one, relative to the total
        variation of the image.
    max_iterations : int
        Largest number of iterations of each.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] K. Bredies, K. Kunisch, T. Pock, "Total generalized variation", SIAM J. Imaging Sci. 3
       (2010), doi 10.1137/090769521
    .. [2] A. Chambolle, T. Pock, "A first-order primal-dual algorithm for convex problems with
       applications to imaging", J. Math. Imaging Vis. 40 (2011), doi 10.1007/s10851-010-0251-1

    Examples
    --------
    >>> clean = TotalGeneralisedVariation().proximal(noisy, 0.1)
    """

    def __init__(
        self,
        *,
        ratio: float = 2.0,
        ndim: int = 2,
        spacing: float | Sequence[float] | None = None,
        tolerance: float = 1e-2,
        max_iterations: int = 3000,
    ) -> None:
        axes = check_int("ndim", ndim, minimum=1)
        lengths = check_spacing("spacing", 1.0 if spacing is None else spacing, axes)
        self.ratio = check_float("ratio", ratio, positive=True)
        super().__init__(
            {
                "ratio": self.ratio,
                "ndim": axes,
                "spacing": None if spacing is None else list(lengths),
            },
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        self.ndim = self.extra = axes
        self._spacing = tuple(1 / scale for scale in relative_scales(lengths))

    def analysis(self, shape: Sequence[int]) -> GeneralisedGradient:
        """Return ``(x, v) -> (grad x - v, E v)``."""
        return GeneralisedGradient(shape, self._spacing)

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the lengths of vectors and matrices, shape (...)."""
        vectors, matrices = self._orders(coefficients)
        axis = -self.ndim - 1
        lengths = torch.linalg.vector_norm(vectors, dim=axis)
        lengths = lengths + self.ratio * torch.linalg.vector_norm(matrices, dim=axis)
        return lengths.flatten(lengths.ndim - self.ndim).sum(-1)

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the projection of vectors and matrices onto the balls of their weights."""
        vectors, matrices = self._orders(dual)
        axis = -self.ndim - 1
        parts = (
            project_vectors(vectors, weight, axis),
            project_vectors(matrices, self.ratio * weight, axis),
        )
        return torch.cat(parts, axis)

    @torch.no_grad()
    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...), without gradients.

        Warns
        -----
        ConvergenceWarning
            If the tolerance was not reached.
        """
        K, flat, leading = self._flattened(image)
        g = K.gradient._evaluate(flat)
        without = self._with_field(K, g, torch.zeros_like(g))  # the total variation
        scale = (without / flat[0].numel()).clamp_min(torch.finfo(flat.dtype).tiny)
        scale = scale.reshape(-1, 1, *(1,) * self.ndim)
        # the value of an image whose differences are about one
        g = g / scale
        size = math.hypot(1.0, K.gradient.norm())
        primal_step, dual_step = _PRIMAL_STEP / size, 1 / (_PRIMAL_STEP * size)
        v = self._first_field(K, g)
        q = K.field_part(torch.zeros_like(v))
        wanted = self.tolerance * self._with_field(K, g, torch.zeros_like(v))
        upper, gap = wanted, wanted
        for iteration in range(self.max_iterations + 1):
            if iteration % _CHECK_EVERY == 0 or iteration == self.max_iterations:
                upper = self._with_field(K, g, v)
                p, factor = self._feasible(K, q, 1.0)
                lower = factor * (p * g).flatten(1).sum(1)
                gap = upper - lower.clamp_min(0)
                if bool((gap <= wanted).all()):
                    break
            v_new = v - primal_step * K.field_adjoint(q)
            ahead = K.field_part(2 * v_new - v)
            ahead[:, : self.ndim].add_(g)
            q_new = self.dual_proximal(q + dual_step * ahead, 1.0, 1.0)
            v, q = torch.lerp(v, v_new, _RELAXATION), torch.lerp(q, q_new, _RELAXATION)
        self._warn_if_above(gap, wanted, "a value")
        return (upper * scale.reshape(-1)).reshape(leading)

    @torch.no_grad()
    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * value(x)``.

        Warns
        -----
        ConvergenceWarning
            If the tolerance was not reached.
        """
        K, flat, _ = self._flattened(image)
        t = self._per_image("step", step, image).reshape(-1, 1, *(1,) * self.ndim)
        wanted = self.tolerance * self._sizes(flat)
        x = image_new = flat
        v = self._first_field(K, K.gradient._evaluate(flat))
        q = K.field_part(torch.zeros_like(v))
        image_step, field_step, dual_step = self._steps(K, flat, t)
        distance = wanted
        for iteration in range(1, self.max_iterations + 1):
            slope = K.gradient._evaluate_adjoint(q[:, : self.ndim].contiguous())
            image_new = (x + image_step * (flat - slope)) / (1 + image_step)
            v_new = v - field_step * K.field_adjoint(q)
            ahead = K.field_part(2 * v_new - v)
            ahead[:, : self.ndim].add_(K.gradient._evaluate(2 * image_new - x))
            q_new = self.dual_proximal(q + dual_step * ahead, 1.0, t)
            if iteration % _CHECK_EVERY == 0 or iteration == self.max_iterations:
                distance = self._distance(K, flat, image_new, v_new, q_new, t)
                if bool((distance <= wanted).all()):
                    break
            x = torch.lerp(x, image_new, _RELAXATION)
            v, q = torch.lerp(v, v_new, _RELAXATION), torch.lerp(q, q_new, _RELAXATION)
        self._warn_if_above(distance, wanted)
        return image_new.reshape(image.shape)

    def _first_field(self, K: GeneralisedGradient, g: torch.Tensor) -> torch.Tensor:
        """Return no vectors or, for images that are nearly affine, their differences `g`."""
        none = torch.zeros_like(g)
        better = self._with_field(K, g, g) < self._with_field(K, g, none)
        return torch.where(better.reshape(-1, *(1,) * (g.ndim - 1)), g, none)

    def _steps(
        self, K: GeneralisedGradient, f: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return steps of images (batch, ...), vectors and dual variables (batch, 1, ...).

        In a step the vectors go as far as the dual variables are large, which `t` bounds; where
        they have to become as large as much larger differences, they are given longer steps.
        """
        lengths = torch.linalg.vector_norm(K.gradient._evaluate(f), dim=1).flatten(1).mean(1)
        ratio = lengths.reshape(t.shape) / t.clamp_min(torch.finfo(f.dtype).tiny)
        square = K.gradient.norm() ** 2
        stretch = (ratio / 5).clamp(1, 1e3).square()
        # the squared norm of ((d, k), (0, k d)), with the square of k
        total = square + stretch + stretch * square
        size = ((total + (total.square() - 4 * stretch * square**2).sqrt()) / 2).sqrt()
        image_step = (ratio / 15).clamp(_LEAST_STEP, 1) / size
        return image_step.squeeze(1), image_step * stretch, 1 / (image_step * size.square())

    def _distance(
        self,
        K: GeneralisedGradient,
        f: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        q: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """Return a bound of the distance of each x to the proximal point, from the duality gap."""
        upper = (x - f).square().flatten(1).sum(1) / 2
        upper = upper + t.reshape(-1) * self._with_field(K, K.gradient._evaluate(x), v)
        p, most = self._feasible(K, q, t)
        u = K.gradient._evaluate_adjoint(p)
        slope, square = (u * f).flatten(1).sum(1), u.square().flatten(1).sum(1)
        # the best multiple of the dual point that is allowed
        factor = torch.minimum(most, torch.where(square > 0, slope / square, 0)).clamp_min(0)
        lower = factor * slope - factor.square() * square / 2
        return (2 * (upper - lower).double()).clamp_min(0).sqrt()

    def _feasible(
        self, K: GeneralisedGradient, q: torch.Tensor, t: float | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return dual vectors ``E.T w`` and the factor (batch,) with which they are feasible.

        The dual problem has the matrices w alone, within their ball; these vectors have to be in
        theirs.
        """
        p = K.field_adjoint(q, of_gradient=False)
        longest = torch.linalg.vector_norm(p, dim=1).flatten(1).amax(1)
        radius = torch.as_tensor(t, dtype=p.dtype, device=p.device).reshape(-1)
        tiny = torch.finfo(p.dtype).tiny
        return p, (radius / longest.clamp_min(tiny)).clamp(max=1)

    def _with_field(self, K: GeneralisedGradient, g: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        coefficients = K.field_part(v)
        coefficients[:, : self.ndim].add_(g)
        return self.analysis_value(coefficients)

    def _orders(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        axis = coefficients.ndim - self.ndim - 1
        rest = coefficients.shape[axis] - self.ndim
        vectors, matrices = coefficients.split((self.ndim, rest), axis)
        return vectors, matrices

    def _flattened(
        self, image: torch.Tensor
    ) -> tuple[GeneralisedGradient, torch.Tensor, torch.Size]:
        self._checked(image)
        leading = image.shape[: image.ndim - self.ndim]
        shape = tuple(image.shape[image.ndim - self.ndim :])
        flat = image.reshape(-1, *shape).contiguous()
        return GeneralisedGradient(shape, self._spacing), flat, leading


def _narrow(x: torch.Tensor, channel: int, axis: int, start: int, end: int) -> torch.Tensor:
    """Return a view of one channel of (batch, channels, *shape), cut along a spatial axis."""
    part = x[:, channel]
    return part.narrow(1 + axis, start, part.shape[1 + axis] - start + end)


def _add_backward(x: torch.Tensor, out: torch.Tensor, axis: int, factor: float) -> None:
    """Add the differences to the previous pixel, none to that before the first, to `out`."""
    count = x.shape[1 + axis]
    if count > 1:
        target = out.narrow(1 + axis, 1, count - 1)
        target.add_(x.narrow(1 + axis, 1, count - 1), alpha=factor)
        target.sub_(x.narrow(1 + axis, 0, count - 1), alpha=factor)


def _add_backward_adjoint(y: torch.Tensor, out: torch.Tensor, axis: int, factor: float) -> None:
    """Add the transpose of `_add_backward` to `out`."""
    count = y.shape[1 + axis]
    if count > 1:
        inner = y.narrow(1 + axis, 1, count - 1)
        out.narrow(1 + axis, 1, count - 1).add_(inner, alpha=factor)
        out.narrow(1 + axis, 0, count - 1).sub_(inner, alpha=factor)
