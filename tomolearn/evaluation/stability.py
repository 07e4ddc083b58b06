"""Stability of reconstructions: how much a change of the data changes the image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.catalogue import Ensemble, Trained
from tomolearn.methods.checks import check_linear_operator, check_sinogram
from tomolearn.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class Stability:
    """A lower bound of the Lipschitz constant of a reconstruction near some data.

    Parameters
    ----------
    constant : float
        Largest ``||f(y + d) - f(y)|| / ||d||`` that was found, in plain Euclidean norms: in the
        image's unit per unit of the data. Another direction may be worse.
    relative : float
        The same relative to image and data, ``constant * ||y|| / ||f(y)||``.
    direction : torch.Tensor, shape (*operator.range_shape)
        The d of norm one that it was found for.
    reconstructions : int
        Number of reconstructions that it took.
    """

    constant: float
    relative: float
    direction: torch.Tensor
    reconstructions: int


def stability(
    method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    size: float = 1e-2,
    rounds: int = 5,
    directions: int = 4,
    seed: int = 0,
) -> Stability:
    """Return a lower bound of the Lipschitz constant of data to image, for methods of every kind.

    Data are changed by ``size * ||y||`` in a few orthogonal directions at once; the combination
    that changes the image most, to first order by a singular value decomposition, is changed and
    measured itself, and kept for the next round beside new directions. Those are random ones, the
    projection of the change of the image, and, where torch can differentiate the method, the
    gradient of the change, with which rounds are power iterations. Each round's bound is that of an
    actual change, so that it is one of the method and not of its linearisation; the bound is not
    an upper one.

    Parameters
    ----------
    method : callable
        ``f(sinogram, operator) -> image``: a method, a network, a function. It should iterate until
        it changes little, or the bound is that of its early end.
    sinogram : torch.Tensor, shape (*operator.range_shape)
        The data; leading dimensions of size one may stand before.
    operator : LinearOperator
        The scanner.
    size : float
        Norm of a change as a part of that of the data.
    rounds, directions : int
        Number of rounds, and of random directions in each.
    seed : int
        Of the directions.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, or there is more than one sinogram, or it is zero.

    Examples
    --------
    >>> stability(tl.get_method("fbp"), y, A).constant
    """
    check_linear_operator("operator", operator)
    y = check_sinogram(sinogram, operator).detach()
    shape = y.shape
    if any(n != 1 for n in shape[: y.ndim - len(operator.range_shape)]):
        raise TomolearnError(
            f"sinogram: expected one of shape {operator.range_shape}, got {tuple(shape)}"
        )
    step = check_float("size", size, positive=True) * float(y.norm())
    if step == 0:
        raise TomolearnError("sinogram: expected one that is not zero")
    check_int("rounds", rounds, minimum=1)
    check_int("directions", directions, minimum=1)
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    probe = _Probe(method, operator, y, step)
    best = torch.zeros(0, y.numel(), dtype=torch.float64, device=y.device)
    more: list[torch.Tensor] = []
    constant = 0.0
    for _ in range(rounds):
        random = torch.randn(directions, y.numel(), generator=generator, dtype=torch.float64)
        basis = _orthonormal(torch.cat([best, *(v[None] for v in more), random.to(y.device)]))
        changes = torch.stack([probe.change(d) for d in basis])
        left, _, _ = torch.linalg.svd(changes, full_matrices=False)
        worst = left[:, 0] @ basis
        worst = worst / worst.norm()
        change = probe.change(worst)
        candidates = [(float(c.norm()), d, c) for d, c in zip(basis, changes, strict=True)]
        found, direction, change = max(
            [*candidates, (float(change.norm()), worst, change)], key=lambda one: one[0]
        )
        if found > constant:
            constant, best = found, direction[None]
        more = probe.ascents(direction, change)
    image = probe.image.norm()
    relative = constant * float(y.norm()) / float(image) if image > 0 else float("inf")
    return Stability(constant, relative, best[0].reshape(operator.range_shape), probe.count)


def reconstructed(method: Any, data: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """Return an image, which follows the gradient of data that have one, if the method does."""
    followed = contextlib.nullcontext() if data.requires_grad else torch.no_grad()
    with followed:
        if isinstance(method, Trained):  # which runs without gradients
            scale = method.image_scale
            return method.network(data.device).apply_to(scale * data, operator) / scale
        if isinstance(method, Ensemble):
            images = [reconstructed(one, data, operator) for one in method.methods or ()]
            return torch.stack(images).mean(0)
        found: torch.Tensor = method(data, operator)
        return found


class _Probe:
    """A reconstruction near some data, and its changes."""

    def __init__(self, method: Any, operator: LinearOperator, y: torch.Tensor, step: float) -> None:
        self._method, self._operator, self._y, self._step = method, operator, y, step
        self.count = 0
        self._gradients = True
        self.image = self._reconstructed(y).detach().double().flatten()

    def change(self, direction: torch.Tensor) -> torch.Tensor:
        """Return the change of the image by a change of the data of norm one, (pixels,)."""
        moved = self._y + (self._step * direction).to(self._y).reshape(self._y.shape)
        return (self._reconstructed(moved).detach().double().flatten() - self.image) / self._step

    def ascents(self, direction: torch.Tensor, change: torch.Tensor) -> list[torch.Tensor]:
        """Return directions (bins,) in which the change may become larger."""
        shape = self._operator.domain_shape
        ascents = [self._operator(change.to(self._y).reshape(shape)).double().flatten()]
        if self._gradients:
            moved = self._y + (self._step * direction).to(self._y).reshape(self._y.shape)
            with torch.inference_mode(False), torch.enable_grad():
                data = moved.clone().requires_grad_()
                image = self._reconstructed(data)
                self._gradients = image.requires_grad
                if self._gradients:
                    target = change.to(image).reshape(image.shape)
                    (gradient,) = torch.autograd.grad(image, data, target)
                    ascents.append(gradient.double().flatten())
        return ascents

    def _reconstructed(self, data: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return reconstructed(self._method, data, self._operator)


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of the rows (number, bins), without those that are zero."""
    rows = rows[rows.norm(dim=1) > 0]
    rows = rows / rows.norm(dim=1, keepdim=True)
    return torch.linalg.qr(rows[: rows.shape[1]].T).Q.T
