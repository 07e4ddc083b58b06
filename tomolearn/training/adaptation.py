"""Adaptation of trained networks to another scanner by measured sinograms, without truths."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import (
    ConvergenceWarning,
    DivergenceError,
    TomolearnError,
    TomolearnTypeError,
)
from tomolearn._core.telling import warn_user
from tomolearn.geometry import RotationScan, Scan
from tomolearn.measurements import calibrate
from tomolearn.measurements.calibration.parameters import PARAMETERS, Unknowns, check_free
from tomolearn.methods import tikhonov
from tomolearn.methods.checks import check_linear_operator, check_sinogram
from tomolearn.models import ReconstructionModel
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.training.objectives import Objective

LOSSES = ("residual", "left-out-views")
"""What adaptation minimises."""

_BATCH = 4


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What `adapt` returns.

    Parameters
    ----------
    model : ReconstructionModel
        A copy of the network with adapted weights, or with the old ones, see `kept_old`.
    operator : RayTransform
        The scanner, with the parameters that were found.
    values : dict of str to float
        Those parameters of the scan that were free.
    before, after : float
        Relative root mean square by which an image of some views misses the others, with the old
        weights and with those of `model`, on the scan that was found.
    misfits : tuple of float
        What was minimised, relative, at each step.
    kept_old : bool
        Whether no step made the left-out error smaller.
    """

    model: ReconstructionModel
    operator: RayTransform
    values: dict[str, float]
    before: float
    after: float
    misfits: tuple[float, ...]
    kept_old: bool


def adapt(
    model: ReconstructionModel,
    sinograms: torch.Tensor,
    operator: RayTransform,
    *,
    strength: float = 1e-3,
    free: Sequence[str] = (),
    loss: str | Objective = "residual",
    steps: int = 60,
    learning_rate: float = 1e-4,
    parts: int = 5,
    check_every: int = 10,
    patience: int = 3,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Adaptation:
    """Adapt a trained network to another scanner: parametrise and perturb [1]_.

    Minimises, without true images, over the weights theta of the network f and, if some are free,
    over the parameters p of the scan ::

        ||y - A(p) f(y; theta, A(p))||^2 / ||y||^2 + strength ||theta - theta0||^2 / ||theta0||^2

    by Adam on a few sinograms at a time. With ``loss="left-out-views"`` each step compares an image
    of all but one of `parts` views with those, which leaves noise no way into the image that
    lowers the loss. Free parameters begin where `calibrate` finds them with the first sinogram, and
    each check takes a step of Gauss and Newton on the network's own misfit, if that is smaller
    afterwards.

    At each check the left-out error is measured: an image of the other views predicts every
    `parts`-th one. If it stays above the smallest one, adaptation stops. The weights with the
    smallest one are kept, the old ones if none was smaller.

    Parameters
    ----------
    model : ReconstructionModel
        The network, which is left as it is.
    sinograms : torch.Tensor, shape (..., *operator.range_shape)
        Measured on the scanner to adapt to, by weights' device.
    operator : RayTransform
        That scanner.
    strength : float
        How much weights are held where they were.
    free : sequence of str
        Parameters of the scan to find, see `calibrate`: "detector_offset", for example.
    loss : {"residual", "left-out-views"} or Objective
        The data that images are compared with: all, as in [1]_, or those that were left out. An
        objective of `tomolearn.training.objectives` that looks at no true image, `Noise2Inverse`,
        `EquivariantImaging` or `SURE`, takes the place of the misfit; it is not relative.
    steps, learning_rate : int and float
        Largest number of steps, and Adam's rate.
    parts, check_every : int
        One view of so many is left out; steps from one check to the next.
    patience : int
        Number of checks in a row without a smaller left-out error after which adaptation stops.
    seed : int
        Of the order of the sinograms.
    progress : callable, optional
        Told the number of steps that are done, and the last misfit.

    Returns
    -------
    Adaptation
        Model, scanner, left-out errors.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do.
    DivergenceError
        If a misfit is not finite.

    Warns
    -----
    ConvergenceWarning
        If the left-out error does not fall, so that the old weights are returned.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Model adaptation for inverse problems in imaging",
       IEEE Trans. Comput. Imaging 7 (2021), arXiv:2012.00139, doi 10.1109/TCI.2021.3094714

    Examples
    --------
    >>> found = tl.adapt(tl.load("lpd-ellipses"), y, A, strength=1e-3, steps=10)
    >>> image = found.model(y, found.operator)
    """
    if not isinstance(model, ReconstructionModel):
        raise TomolearnTypeError(
            f"model: expected a ReconstructionModel, got {type(model).__name__}"
        )
    if not isinstance(operator, RayTransform):
        raise TomolearnTypeError(
            f"operator: expected a RayTransform, got {type(operator).__name__}"
        )
    flat = check_sinogram(sinograms, operator).detach().reshape(-1, 1, *operator.range_shape)
    if not len(flat) or not bool(flat.any()):
        raise TomolearnError("sinograms: expected one at least that is not zero")
    check_float("strength", strength, nonnegative=True)
    if not isinstance(loss, Objective):
        check_choice("loss", loss, LOSSES)
    check_int("steps", steps, minimum=1)
    check_float("learning_rate", learning_rate, positive=True)
    check_int("check_every", check_every, minimum=1)
    check_int("patience", patience, minimum=1)
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    n_views = operator.scan.n_angles
    if not 2 <= check_int("parts", parts, minimum=2) <= n_views:
        raise TomolearnError(f"parts: expected at most the {n_views} views, got {parts}")
    task = _Problem(copy.deepcopy(model), flat.to(next(model.parameters()).dtype), parts)
    if free:
        names = check_free(free, operator.scan)
        numbers = [name for name, one in PARAMETERS.items() if not one.is_pose]
        if views := [name for name in names if name not in numbers]:
            raise TomolearnError(
                f"free: expected some of {', '.join(numbers)}, got {views[0]!r}; calibrate them "
                "first"
            )
        operator = task.calibrated(operator, names)
    else:
        names = ()
    before = best = task.left_out_error(operator)
    kept = copy.deepcopy(task.model.state_dict())
    old = [weights.detach().clone() for weights in task.model.parameters()]
    size = sum(float(one.square().sum()) for one in old) or 1.0
    optimiser = torch.optim.Adam(task.model.parameters(), lr=learning_rate)
    misfits: list[float] = []
    kept_old, best_operator, worse = True, operator, 0
    for step in range(1, steps + 1):
        chosen = torch.randperm(len(flat), generator=generator)[:_BATCH]
        left = int(torch.randint(parts, (), generator=generator))
        optimiser.zero_grad()
        if isinstance(loss, Objective):
            misfit = task.objective(loss, chosen, operator, np.random.default_rng((seed, step)))
        else:
            misfit = task.misfit(chosen, operator, left if loss == "left-out-views" else None)
        moved = sum(
            (new - was).square().sum()
            for new, was in zip(task.model.parameters(), old, strict=True)
        )
        (misfit + strength * moved / size).backward()
        misfits.append(float(misfit.detach()))
        if not math.isfinite(misfits[-1]):
            raise DivergenceError(
                f"adapt: expected finite misfits, got {misfits[-1]} at step {step}; a smaller "
                "learning_rate or a larger strength may do, or an objective without true images"
            )
        optimiser.step()
        if progress is not None:
            progress(step, misfits[-1])
        if step % check_every and step < steps:
            continue
        if names:
            operator = task.refined(operator, names)
        error = task.left_out_error(operator)
        if error < best:
            best, best_operator, kept_old, worse = error, operator, False, 0
            kept = copy.deepcopy(task.model.state_dict())
        else:
            worse += 1
            if worse >= patience:
                break
    task.model.load_state_dict(kept)
    if kept_old:
        warn_user(
            f"adapt: the left-out error rose above {before:.4g}; the old weights are kept. A "
            "smaller learning_rate, a larger strength or more sinograms may do",
            ConvergenceWarning,
        )
    scan = best_operator.scan
    values = {name: PARAMETERS[name].value(scan) for name in names}
    adapted = task.model.train(model.training)
    return Adaptation(adapted, best_operator, values, before, best, tuple(misfits), kept_old)


def reuse_and_regularise(
    model: ReconstructionModel,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    trained: LinearOperator,
    *,
    weight: float,
    iterations: int = 10,
    inner_iterations: int = 20,
) -> torch.Tensor:
    """Reconstruct with a network that was trained for another scanner: reuse and regularise [1]_.

    Repeats ``x = argmin ||A x - y||^2 + weight ||x - z||^2`` with ``z = f(A0 x; A0)``, the
    network's image of what the scanner that it was trained for would measure of x. The weights of
    the network stay as they are.

    Parameters
    ----------
    model : ReconstructionModel
        The network f.
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        The data.
    operator, trained : LinearOperator
        The scanner A of the data, and A0 of the training.
    weight : float
        How much the image is drawn to the network's, relative to ``||A||^2``.
    iterations, inner_iterations : int
        Number of repetitions, and of conjugate gradients in each.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, or the scanners see images of different shapes.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Model adaptation for inverse problems in imaging",
       IEEE Trans. Comput. Imaging 7 (2021), arXiv:2012.00139, doi 10.1109/TCI.2021.3094714
    """
    check_linear_operator("operator", operator)
    check_linear_operator("trained", trained)
    if trained.domain_shape != operator.domain_shape:
        raise TomolearnError(
            f"trained: expected images of shape {operator.domain_shape}, got {trained.domain_shape}"
        )
    y = check_sinogram(sinogram, operator).detach()
    scaled = check_float("weight", weight, positive=True) * float(operator.norm()) ** 2
    check_int("iterations", iterations, minimum=1)
    with torch.no_grad():
        image = tikhonov(y, operator, weight=scaled, iterations=inner_iterations)
        for _ in range(iterations):
            near = model.apply_to(trained(image), trained)
            rest = y - operator(near)
            image = near + tikhonov(rest, operator, weight=scaled, iterations=inner_iterations)
    return image


class _Problem:
    """A network, data of a scanner, and how well its images explain them."""

    def __init__(self, model: ReconstructionModel, data: torch.Tensor, parts: int) -> None:
        self.model, self._data, self._parts = model.train(), data, parts
        self._parted: dict[tuple[Scan, int], tuple[RayTransform, ...]] = {}

    def misfit(
        self, chosen: torch.Tensor, operator: RayTransform, left: int | None
    ) -> torch.Tensor:
        """Return the relative squared misfit of some sinograms, of all views or those left out."""
        y = self._data[chosen.to(self._data.device)]
        if left is None:
            return (operator(self.model.apply_to(y, operator)) - y).square().sum() / _energy(y)
        kept, out = self._split(operator, left)
        views = torch.arange(y.shape[2], device=y.device) % self._parts == left
        image = self.model.apply_to(y[:, :, ~views], kept)
        unseen = y[:, :, views]
        return (out(image) - unseen).square().sum() / _energy(unseen)

    def objective(
        self,
        objective: Objective,
        chosen: torch.Tensor,
        operator: RayTransform,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """Return what an objective makes of some sinograms, without images to look at."""
        y = self._data[chosen.to(self._data.device)]
        unknown = y.new_full((len(y), 1, *operator.domain_shape), math.nan)
        return objective.loss(self.model, (y, unknown), operator, rng)

    def left_out_error(self, operator: RayTransform) -> float:
        """Return the relative root mean square of what images miss of views left out."""
        left = self._parts // 2
        with self._judged():
            squares = [
                float(self.misfit(torch.tensor([k]), operator, left))
                for k in range(len(self._data))
            ]
        return math.sqrt(sum(squares) / len(squares))

    def calibrated(self, operator: RayTransform, names: Sequence[str]) -> RayTransform:
        """Return the scanner that explains the first sinogram best."""
        scan = calibrate(self._data[0, 0], operator.grid, operator.scan, free=names).scan
        return _with_scan(operator, scan)

    def refined(self, operator: RayTransform, names: Sequence[str]) -> RayTransform:
        """Return the scanner after a step of Gauss and Newton on the network's misfit."""
        scan = operator.scan
        if not isinstance(scan, RotationScan):
            raise TomolearnTypeError(
                f"operator: expected a scan with view angles, got {type(scan).__name__}"
            )
        unknowns = Unknowns(scan, tuple(names))
        values, steps = unknowns.start(), unknowns.steps(operator.grid)
        with self._judged():
            start = self._residual(operator)
            slopes = []
            for move in np.diag(steps):
                moved = _with_scan(operator, unknowns.scan_at(values + move))
                slopes.append((self._residual(moved) - start) / move.sum())
            jacobian = torch.stack(slopes, 1)
            change = torch.linalg.lstsq(jacobian, -start[:, None]).solution[:, 0].cpu().numpy()
            tried = _with_scan(operator, unknowns.scan_at(values + change))
            better = self._residual(tried).square().sum() < start.square().sum()
        return tried if bool(better) else operator

    def _residual(self, operator: RayTransform) -> torch.Tensor:
        y = self._data[:_BATCH]
        return (operator(self.model.apply_to(y, operator)) - y).double().flatten()

    def _split(self, operator: RayTransform, left: int) -> tuple[RayTransform, ...]:
        key = (operator.scan, left)
        if key not in self._parted:
            if len(self._parted) > 2 * self._parts:  # of scans that are no longer tried
                self._parted.clear()
            views = np.arange(operator.scan.n_angles) % self._parts == left
            self._parted[key] = tuple(
                _with_scan(operator, operator.scan.subset(which)) for which in (~views, views)
            )
        return self._parted[key]

    @contextmanager
    def _judged(self) -> Iterator[None]:
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train()


def _with_scan(operator: RayTransform, scan: Scan) -> RayTransform:
    return RayTransform.derived(operator.grid, scan, operator.backend, operator.rays_per_bin)


def _energy(y: torch.Tensor) -> torch.Tensor:
    return y.square().sum().clamp(min=torch.finfo(y.dtype).tiny)
