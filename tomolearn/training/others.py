"""Weights that others have published, as networks and regularisers of this package."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.checks import check_choice, check_flag, check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.models import LearnedPrimalDual, LoDoPaBUNet
from tomolearn.priors import ConvexRidge, SplineRidge, WeaklyConvexRidge

State = dict[str, torch.Tensor]
LAYOUTS = ("dival-lpd", "dival-unet", "learned-regularizers", "crr-nn")
"""Layouts of files, see `read_published`."""

_PARAMETRISED = ".parametrizations.weight.original"
_SIZE = 256  # of the images on which LearnedRegularizers takes the norm of filters


def read_published(
    path: str | os.PathLike[str],
    layout: str,
    *,
    grid: Grid | None = None,
    scan: ParallelBeam | None = None,
    unit: float = 1000.0,
    start: float | None = None,
    frequency_scaling: float = 1.0,
    weakly_convex: bool = False,
    span: float = 0.1,
) -> LearnedPrimalDual | LoDoPaBUNet | ConvexRidge | SplineRidge:
    """Read weights that others have published, in a file that you have.

    What comes back computes what theirs does, to rounding, and is saved by `tomolearn.save`; a path
    of saved weights is a method. No code of the file is run.

    - "dival-lpd": the learned primal-dual of the library DIVal, as its defaults have it (three
      convolutions, PReLU, no normalisation). Its operators are ODL's, whose adjoint is weighted by
      the cells of images and sinograms; the weights are changed by this factor, for which the
      scanner of their training has to be known.
    - "dival-unet": DIVal's U-Net after filtered back-projection.
    - "learned-regularizers": CRR and WCRR of the comparative study arXiv:2510.01755, also with its
      fitted scale and weight. Filters see zeros beyond the border there and mirror images here,
      which changes as many pixels at the border as filters reach.
    - "crr-nn": the convex ridge regulariser of arXiv:2211.12461.

    Parameters
    ----------
    path : path-like
        File of torch, with a state dictionary, or a dictionary that has it as "state_dict".
    layout : str
        One of the above.
    grid, scan : Grid, ParallelBeam
        What a "dival-lpd" was trained on, in mm.
    unit : float
        Their unit of length in mm: 1000 for LoDoPaB-CT, whose scanner is in metres, 1 for DIVal's
        ellipses with pixels of length one.
    start : float, optional
        Frequency scaling of the filtered back-projection that a "dival-lpd" begins at
        (``init_fbp``). Default: it begins at zero.
    frequency_scaling : float
        Of the filtered back-projection of a "dival-unet".
    weakly_convex : bool
        Whether "learned-regularizers" has weights of a WCRR.
    span : float
        Largest knot of the splines of a "crr-nn" (``knots_range``).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If it is no file of tensors, they are not those of the layout, or an argument is missing.

    Examples
    --------
    >>> model = read_published("lpd.pt", "dival-lpd", grid=task.grid, scan=task.scan, start=0.7)
    >>> tl.save(model, "lpd-published", task="lodopab")
    """
    check_choice("layout", layout, LAYOUTS)
    check_flag("weakly_convex", weakly_convex)
    state = _state(Path(path))
    where = f"{path}"
    if layout == "dival-lpd":
        if grid is None or not isinstance(scan, ParallelBeam):
            raise TomolearnError(
                "scan: expected the grid and the parallel beam of the training with dival-lpd, got "
                f"{grid} and {scan}"
            )
        return _primal_dual(where, state, _odl_factor(grid, scan, unit), start)
    if layout == "dival-unet":
        return _unet(where, state, frequency_scaling)
    if layout == "learned-regularizers":
        return _ridge(where, state, weakly_convex)
    return _spline_ridge(where, state, span)


def _state(path: Path) -> State:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TomolearnError(
            f"{path}: expected a file of tensors that torch.save wrote, got another ({error})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(one, torch.Tensor) and isinstance(name, str) for name, one in content.items()
    ):
        raise TomolearnError(f"{path}: expected a dictionary of tensors, got {type(content)}")
    return {
        name.removeprefix("module.").replace(_PARAMETRISED, ".weight"): one.detach().float()
        for name, one in content.items()
    }


def _odl_factor(grid: Grid, scan: ParallelBeam, unit: float) -> float:
    """Return by how much ODL's norm of the ray transform exceeds that of the plain matrix.

    Its inner products have the areas of cells as weights: of sinograms angle times bin, of images
    that of a pixel.
    """
    unit = check_float("unit", unit, positive=True)
    angle = math.pi / scan.n_angles
    cell = float(grid.spacing[0]) * float(grid.spacing[1]) / unit**2
    return math.sqrt(angle * float(scan.detector_spacing) / unit / cell)


def _primal_dual(where: str, state: State, factor: float, start: float | None) -> LearnedPrimalDual:
    blocks = {int(m[1]) for name in state if (m := re.match(r"primal_blocks\.(\d+)\.", name))}
    first_dual = _tensor(where, state, "dual_blocks.0.block.0.weight", 4)
    first_primal = _tensor(where, state, "primal_blocks.0.block.0.weight", 4)
    arguments: dict[str, Any] = {
        "iterations": len(blocks),
        "n_primal": first_primal.shape[1] - 1,
        "n_dual": first_dual.shape[1] - 2,
        "channels": first_dual.shape[0],
    }
    if start is not None:
        arguments |= {"start": "fbp", "frequency_scaling": start}
    model = LearnedPrimalDual(**arguments)
    renamed = {}
    for name, one in state.items():
        found = re.match(r"(primal|dual)_blocks\.(\d+)\.block\.(\d+\.\w+)$", name)
        if found is None:
            raise TomolearnError(f"{where}: expected tensors of DIVal's PrimalDualNet, got {name}")
        part, number, rest = found.groups()
        value = one.clone()
        if rest == "0.weight" and part == "dual":
            value[:, -2:] /= factor  # the projection, and the data
        elif rest == "0.weight":
            value[:, -1:] *= factor  # the back-projection
        renamed[f"{part}_updates.{number}.layers.{rest}"] = value
    return _filled(where, model, renamed)


def _unet(where: str, state: State, frequency_scaling: float) -> LoDoPaBUNet:
    count = len({m[1] for name in state if (m := re.match(r"down\.(\d+)\.", name))})
    first = _tensor(where, state, "inc.conv.0.weight", 4)
    widths = [first.shape[0]]
    widths += [_tensor(where, state, f"down.{k}.conv.0.weight", 4).shape[0] for k in range(count)]
    skips = _tensor(where, state, "up.0.skip_conv.0.weight", 4).shape[0]
    model = LoDoPaBUNet(channels=widths, skip_channels=skips, frequency_scaling=frequency_scaling)
    renamed = {}
    for name, one in state.items():
        found = name
        for pattern, text in (
            (r"^inc\.conv\.", "first."),
            (r"^(down\.\d+)\.conv\.", r"\1."),
            (r"^up\.(\d+)\.skip_conv\.", r"skips.\1."),
            (r"^(up\.\d+)\.conv\.", r"\1."),
            (r"^outc\.conv\.", "last."),
        ):
            found = re.sub(pattern, text, found)
        renamed[found] = one
    return _filled(where, model, renamed)


def _ridge(where: str, state: State, weakly_convex: bool) -> ConvexRidge:
    # with fitted numbers: exp(alpha - 2 scale) R(exp(scale) x)
    alpha, scale = (float(state.pop(name, torch.zeros(()))) for name in ("alpha", "scale"))
    state = {name.removeprefix("regularizer."): one for name, one in state.items()}
    names = sorted(name for name in state if re.match(r"filters\.\d+\.weight$", name))
    kernels = [_tensor(where, state, name, 4) for name in names or ["filters.0.weight"]]
    logarithms = _tensor(where, state, "scaling", 4).flatten()
    beta = float(_tensor(where, state, "beta", 0))
    if len({kernel.shape[-1] for kernel in kernels}) > 1:
        raise TomolearnError(f"{where}: expected filters of one size, got several")
    widths, size = [kernel.shape[0] for kernel in kernels], kernels[0].shape[-1]
    # R = sum of (h(a, f x) - h(b, f x)) / s with b = 1 / s and a = b exp(-beta)
    ends = torch.exp(-logarithms - scale)
    knees = ends * math.exp(-beta)
    weights = torch.exp(-logarithms + alpha - scale)
    arguments: dict[str, Any] = {
        "channels": widths,
        "kernel_size": size,
        "knee": 2 * float(knees.min()),
    }
    model = ConvexRidge(**arguments)
    with torch.no_grad():
        for mine, theirs in zip(model.kernels, kernels, strict=True):
            mine.copy_(theirs)
        spectrum = torch.fft.rfft2(model.filters(), s=(_SIZE, _SIZE))
        norm = spectrum.abs().square().sum(0).max().sqrt()
    values = {f"kernels.{k}": kernel for k, kernel in enumerate(kernels)}
    values[f"kernels.{len(kernels) - 1}"] = kernels[-1] / norm
    values["log_weights"] = weights.log()
    values["log_excesses"] = (knees - model.smallest_knee).log()
    if not weakly_convex:
        return _filled(where, model, values)
    values["log_ratios"] = torch.full_like(weights, math.log(math.expm1(beta)))
    # large enough a modulus leaves the concave part whole; the certificate tells what it is then
    model = WeaklyConvexRidge(**arguments, modulus=1.0)
    _filled(where, model, values)
    with torch.no_grad():
        modulus = 1.001 * float(model._concave_peak())
    return _filled(where, WeaklyConvexRidge(**arguments, modulus=modulus), values)


def _spline_ridge(where: str, state: State, span: float) -> SplineRidge:
    names = sorted(
        name for name in state if re.match(r"conv_layer\.conv_layers\.\d+\.weight", name)
    )
    kernels = [
        _tensor(where, state, name, 4) for name in names or ["conv_layer.conv_layers.0.weight"]
    ]
    coefficients = _tensor(where, state, "activation.coefficients_vect", 1)
    widths = [kernel.shape[0] for kernel in kernels]
    if coefficients.numel() % widths[-1]:
        raise TomolearnError(
            f"{where}: expected splines of {widths[-1]} filters, got {coefficients.numel()} numbers"
        )
    knots = coefficients.numel() // widths[-1]
    model = SplineRidge(channels=widths, kernel_size=kernels[0].shape[-1], knots=knots, span=span)
    values = {f"kernels.{k}": kernel for k, kernel in enumerate(kernels)}
    values["coefficients"] = coefficients.reshape(widths[-1], knots)
    return _filled(where, model, values)


def _tensor(where: str, state: Mapping[str, torch.Tensor], name: str, ndim: int) -> torch.Tensor:
    if name not in state or state[name].ndim != ndim:
        found = ", ".join(list(state)[:3]) or "none"
        raise TomolearnError(
            f"{where}: expected a tensor {name} of {ndim} axes, as files of this layout have it; "
            f"got {found}, ..."
        )
    return state[name]


def _filled(where: str, model: Any, values: Mapping[str, torch.Tensor]) -> Any:
    try:
        model.load_state_dict({name: one.clone() for name, one in values.items()})
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise TomolearnError(f"{where}: expected the tensors of this layout; {lines}") from error
    return model.eval()
