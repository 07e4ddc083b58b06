"""From counts to line integrals and their weights."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tomolearn._core.checks import check_count, check_float, check_floats
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.telling import warn_user
from tomolearn.measurements.photon_transfer import photons_from_air, photons_from_frames
from tomolearn.measurements.report import MeasurementWarning, PreprocessReport

if TYPE_CHECKING:
    import torch

# The logarithm sees at least a tenth of a photon, as in simulated scans.
_LEAST_PHOTONS, _LEAST_TRANSMISSION = 0.1, 1e-6
# A bin whose flat field is darker than this share of the median answers to no beam.
_DARK_FLAT = 0.1
# A bin that is masked in more than this share of the views is not to be trusted in the others.
_DEAD_SHARE = 0.1
# Dark current that is so many robust standard deviations above the median's is a hot bin.
_HOT = 20.0
# Counts of an object are between these shares of the flats, in all but some bins.
_FAINTEST, _BRIGHTEST = 1e-3, 3.0
_AIR_TOLERANCE, _MOST_DEAD = 0.3, 0.2


class Preprocessed(NamedTuple):
    """Line integrals, their weights and what was found on the way.

    Attributes
    ----------
    line_integrals : numpy.ndarray or torch.Tensor, shape of the counts
        0 where the weight is 0.
    weights : numpy.ndarray or torch.Tensor, shape of the counts
        Inverse variance of each, over the mean of those that are not masked; 0 is a dead bin. So
        the weight of a prior means what it means without weights.
    report : PreprocessReport
    """

    line_integrals: Any
    weights: Any
    report: PreprocessReport

    @property
    def mask(self) -> Any:
        """Whether a value was measured, array or tensor of bool."""
        return self.weights > 0


def preprocess(
    counts: Any,
    flats: Any,
    darks: Any = None,
    *,
    flat_views: Sequence[float] | None = None,
    air: int | slice | None = None,
    mask: Any = None,
    photons_per_count: float | None = None,
    systematic: float = 0.0,
    saturation: float | None = None,
    floor: float | None = None,
) -> Preprocessed:
    """Line integrals and weights from counts, flat and dark fields.

    A line integral is ``-log((counts - dark) / (flat - dark))``, its variance that of the photons
    and the reading noise behind it.

    Parameters
    ----------
    counts : numpy.ndarray or torch.Tensor, shape (views, bins) or (views, rows, columns)
        What the detector read.
    flats : array of shape (frames, *bins) or (*bins), a number, or None
        What it read without an object; None: the intensity in `air` of each view.
    darks : array of shape (frames, *bins) or (*bins), a number, or None
        What it read without a beam; a number may stand for scatter as well, which is what is
        counted behind an opaque object.
    flat_views : sequence of float, optional
        The view at which each frame of `flats` was taken, between which they are interpolated:
        flats of before and after the scan are ``[-1, ..., n, ...]``. Default: one mean.
    air : int or slice, optional
        Columns that no view of the object covers: so many at either end, or these. The intensity
        of each view is brought to one there.
    mask : array of bool, shape (*bins) or that of `counts`, optional
        Which values were measured, as far as is known beforehand.
    photons_per_count : float, optional
        Default: by photon transfer from two or more flats, else from `air`; if there is neither,
        weights are right but for the reading noise, and `report.variance` is None.
    systematic : float
        Standard deviation of line integrals that photons do not explain: scatter, rings, a model
        of the beam that is too simple. Where there are many photons it is what limits weights.
    saturation : float, optional
        Counts from here on are not believed.
    floor : float, optional
        Smallest transmission that the logarithm sees. Default: that of a tenth of a photon.

    Returns
    -------
    Preprocessed
        Of numpy arrays for numpy arrays; of tensors for tensors, then `line_integrals` is
        differentiable by counts, flats and darks.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, counts look like line integrals, or no bin is alive.

    Warns
    -----
    MeasurementWarning
        If more than a fifth of the values is masked, or air is not as bright as the flats.

    Examples
    --------
    >>> y, w, report = preprocess(counts, flats, darks)
    >>> x = tl.cgls(torch.from_numpy(y), A, weights=torch.from_numpy(w))
    """
    import torch

    is_tensor = isinstance(counts, torch.Tensor)
    c = _tensor("counts", counts)
    if c.ndim not in (2, 3) or c.numel() == 0:
        raise TomolearnError(
            f"counts: expected shape (views, bins) or (views, rows, columns), got {tuple(c.shape)}"
        )
    flat_frames = None if flats is None else _frames("flats", flats, c)
    dark_frames = None if darks is None else _frames("darks", darks, c)
    columns = None if air is None else _air_columns(air, c.shape[-1])
    if flat_frames is None and columns is None:
        raise TomolearnError(
            "flats: expected flat fields, a number, or air columns to take the intensity from, "
            "got neither; give flats= or air="
        )
    dark = c.new_zeros(()) if dark_frames is None else dark_frames.mean(0)
    net = c - dark
    if flat_frames is not None:
        open_beam = _open_beam(flat_frames, flat_views, len(c)) - dark
    elif flat_views is not None:
        raise TomolearnError("flat_views: expected flats to go with them, got none")
    else:
        open_beam = c.new_full((1,) * c.ndim, _median(net.detach()[..., columns]))
    _check_counts(net.detach(), open_beam.detach(), is_air=flat_frames is None)

    live = _live(c, open_beam, flat_frames, dark_frames, mask, saturation)
    safe_net = torch.where(live, net, torch.ones_like(net))
    transmission = safe_net / torch.where(open_beam > 0, open_beam, torch.ones_like(open_beam))
    level = drift = None
    if columns is not None:
        transmission, level, drift = _to_air(transmission, live, columns)

    if photons_per_count is None:
        gain = _photons_per_count(flat_frames, dark_frames, net, columns)
    else:
        gain = check_float("photons_per_count", photons_per_count, positive=True)
    check_float("systematic", systematic, nonnegative=True)
    if systematic and gain is None:
        raise TomolearnError(
            "photons_per_count: expected a number, to compare photons with systematic = "
            f"{systematic:g}, got none, nor two flats or air to find it by"
        )
    bright = torch.broadcast_to(open_beam.detach(), c.shape)[live]
    photons = None if gain is None else gain * _median(bright)
    if floor is None:
        least = _LEAST_TRANSMISSION if photons is None else _LEAST_PHOTONS / photons
    else:
        least = check_float("floor", floor, positive=True)
    low = live & (transmission < least)
    line_integrals = -torch.log(transmission.clamp(min=least))
    line_integrals = torch.where(live, line_integrals, torch.zeros_like(line_integrals))

    precision = _precision(safe_net.detach(), live, dark_frames, gain, systematic)
    mean = float(precision[live].double().mean())
    report = PreprocessReport(
        photons_per_count=gain,
        photons=photons,
        variance=None if gain is None else 1 / mean,
        dead_bins=_dead_bins(live),
        masked=_masked(live),
        floored=int(low.sum()),
        air=level,
        drift=drift,
    )
    _warn(report, flat_frames is not None)
    weights = precision / mean
    if is_tensor:
        return Preprocessed(line_integrals, weights, report)
    return Preprocessed(line_integrals.numpy(), weights.numpy(), report)


def without_preprocessing(line_integrals: np.ndarray) -> Preprocessed:
    """Return line integrals that were measured as such, each with a weight of one.

    Parameters
    ----------
    line_integrals : numpy.ndarray, shape (views, bins) or (views, rows, columns)

    Raises
    ------
    TypeError, ValueError
        If they are no real numbers, or none is finite.
    """
    import torch

    from tomolearn.methods.checks import warn_of_counts

    values = _tensor("line_integrals", line_integrals)
    live = torch.isfinite(values)
    if not live.any():
        raise TomolearnError("line_integrals: expected some finite numbers, got none")
    values = torch.where(live, values, torch.zeros_like(values))
    warn_of_counts(values)
    report = PreprocessReport(
        photons_per_count=None,
        photons=None,
        variance=None,
        dead_bins=_dead_bins(live),
        masked=_masked(live),
        floored=0,
        air=None,
        drift=None,
    )
    return Preprocessed(values.numpy(), live.to(values.dtype).numpy(), report)


def _dead_bins(live: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    import torch

    return tuple(map(tuple, torch.nonzero(~live.any(0)).tolist()))


def _masked(live: torch.Tensor) -> float:
    return 1 - float(live.double().mean())


def _tensor(name: str, values: Any) -> torch.Tensor:
    """Return a floating-point tensor; numpy's become float32 unless they are float64."""
    import torch

    if isinstance(values, torch.Tensor):
        if values.is_complex() or values.dtype == torch.bool:
            raise TomolearnTypeError(f"{name}: expected real numbers, got {values.dtype}")
        return values if values.dtype in (torch.float32, torch.float64) else values.float()
    if not isinstance(values, (np.ndarray, Sequence)) or isinstance(values, str):
        raise TomolearnTypeError(
            f"{name}: expected a numpy.ndarray or torch.Tensor, got {type(values).__name__}"
        )
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TomolearnTypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    kind = np.float64 if array.dtype == np.float64 else np.float32
    return torch.from_numpy(array.astype(kind))


def _frames(name: str, values: Any, counts: torch.Tensor) -> torch.Tensor:
    """Return frames (n, *bins) on the counts' device; a number is one of the same everywhere."""
    if isinstance(values, numbers.Real) and not isinstance(values, bool):
        return counts.new_full((1, *counts.shape[1:]), check_float(name, values))
    frames = _tensor(name, values).to(counts)
    if frames.shape == counts.shape[1:]:
        frames = frames[None]
    if frames.shape[1:] != counts.shape[1:] or len(frames) == 0:
        raise TomolearnError(
            f"{name}: expected shape (frames, {', '.join(map(str, counts.shape[1:]))}) as of the "
            f"counts, got {tuple(frames.shape)}"
        )
    return frames


def _air_columns(air: Any, count: int) -> np.ndarray:
    if isinstance(air, slice):
        chosen = np.arange(count)[air]
        if chosen.size == 0:
            raise TomolearnError(f"air: expected a slice of some of {count} columns, got {air!r}")
        return chosen
    n = check_count("air", air)
    if 2 * n >= count:
        raise TomolearnError(f"air: expected fewer than half of {count} columns, got {n}")
    return np.r_[:n, count - n : count]


def _open_beam(
    frames: torch.Tensor, flat_views: Sequence[float] | None, n_views: int
) -> torch.Tensor:
    """Return the flat field of every view, (views, *bins), or one for all, (1, *bins)."""
    if flat_views is None:
        return frames.mean(0, keepdim=True)
    positions = np.array(check_floats("flat_views", flat_views, length=len(frames)))
    # frames at one position are averaged first; between positions it is linear, beyond constant
    places, member = np.unique(positions, return_inverse=True)
    means = [frames[np.flatnonzero(member == k)].mean(0) for k in range(len(places))]
    at = np.interp(np.arange(n_views), places, np.arange(len(places)))
    before = np.minimum(at.astype(int), len(places) - 1)
    after = np.minimum(before + 1, len(places) - 1)
    import torch

    stack = torch.stack(means)
    part = torch.from_numpy(at - before).to(stack).reshape(-1, *(1,) * (stack.ndim - 1))
    return stack[before] * (1 - part) + stack[after] * part


def _median(values: torch.Tensor) -> float:
    return float(np.median(values.cpu().numpy()))


def _check_counts(net: torch.Tensor, open_beam: torch.Tensor, *, is_air: bool) -> None:
    """Refuse what cannot be counts behind an object.

    Of line integrals, those in air are the smallest, and none is near the flats.
    """
    import torch

    values = net[torch.isfinite(net)].cpu().numpy()
    if values.size == 0:
        raise TomolearnError("counts: expected some finite numbers, got none")
    bright = _median(open_beam)
    middle, high = np.quantile(values, [0.5, 0.99])
    if is_air and high > 2 * bright:
        raise TomolearnError(
            f"counts: expected the most in air, got {bright:.4g} there and {high:.4g} elsewhere; "
            "are they line integrals, which need no preprocessing?"
        )
    if not bright > 0:
        raise TomolearnError(
            f"flats: expected more than the darks, got {bright:.4g} above them; are flats and "
            "darks exchanged?"
        )
    if high < _FAINTEST * bright or middle > _BRIGHTEST * bright:
        raise TomolearnError(
            f"counts: expected some of about the flats, {bright:.4g}, got a median of "
            f"{middle:.4g} and 99 % below {high:.4g}; are they line integrals, which need no "
            "preprocessing, or of another exposure?"
        )


def _live(
    counts: torch.Tensor,
    open_beam: torch.Tensor,
    flats: torch.Tensor | None,
    darks: torch.Tensor | None,
    mask: Any,
    saturation: float | None,
) -> torch.Tensor:
    """Return which values were measured: (views, *bins), bool."""
    import torch

    raw = counts.detach()
    dark = raw.new_zeros(()) if darks is None else darks.detach().mean(0)
    live = torch.isfinite(raw) & (raw > 0) & (raw > dark)
    if saturation is not None:
        live &= raw < check_float("saturation", saturation, positive=True)
    live &= open_beam.detach() > _DARK_FLAT * _median(open_beam.detach())
    if darks is not None:
        excess = dark - _median(dark)
        spread = 1.4826 * _median(excess.abs())
        # where all darks are the same there is no hot bin to tell
        live &= excess <= (_HOT * spread if spread > 0 else math.inf)
    # where flats have noise, a bin that reads the same in every view is stuck
    if flats is not None and bool((flats.detach() != flats.detach()[:1]).any()):
        highest = torch.where(live, raw, -math.inf).amax(0)
        live &= (highest != torch.where(live, raw, math.inf).amin(0)) | (len(raw) < 3)
    if mask is not None:
        known = torch.as_tensor(mask)
        if known.dtype != torch.bool:
            raise TomolearnTypeError(f"mask: expected an array of bool, got {known.dtype}")
        if known.shape not in (raw.shape, raw.shape[1:]):
            raise TomolearnError(
                f"mask: expected shape {tuple(raw.shape)} or {tuple(raw.shape[1:])}, "
                f"got {tuple(known.shape)}"
            )
        live = live & known.to(raw.device)
    # an own view may be lost on purpose, by `mask`; a bin that often fails is not one to trust
    considered = live.any(tuple(range(1, live.ndim)))
    if considered.any():
        live &= (~live[considered]).double().mean(0) <= _DEAD_SHARE
    if not live.any():
        raise TomolearnError("counts: expected some bins that are alive, got none above the darks")
    return live


def _to_air(
    transmission: torch.Tensor, live: torch.Tensor, columns: np.ndarray
) -> tuple[torch.Tensor, float, float]:
    """Return transmissions whose mean is 1 in air, its median before, and its drift."""
    dims = tuple(range(1, live.ndim))
    seen = live[..., columns]
    number = seen.sum(dims, keepdim=True)
    needed = live.any(dims, keepdim=True)
    if bool(((number == 0) & needed).any()):
        view = int(((number == 0) & needed).flatten().nonzero()[0])
        raise TomolearnError(
            f"air: expected a live bin of air in every view, got none in view {view}"
        )
    level = (transmission[..., columns] * seen).sum(dims, keepdim=True) / number.clamp(min=1)
    known = level.detach()[needed]
    drift = float((known.max() - known.min()) / known.mean())
    import torch

    return transmission / torch.where(needed, level, 1.0), _median(known), drift


def _photons_per_count(
    flats: torch.Tensor | None,
    darks: torch.Tensor | None,
    net: torch.Tensor,
    columns: np.ndarray | None,
) -> float | None:
    def array(frames: torch.Tensor) -> np.ndarray:
        return frames.detach().double().cpu().numpy()

    if flats is not None and len(flats) > 1:
        return photons_from_frames(array(flats), None if darks is None else array(darks))
    if columns is None:
        return None
    air = array(net)[..., columns]
    return photons_from_air(air.reshape(len(air), -1))


def _precision(
    net: torch.Tensor,
    live: torch.Tensor,
    darks: torch.Tensor | None,
    gain: float | None,
    systematic: float,
) -> torch.Tensor:
    """Return the inverse variance of each line integral, relative if `gain` is not known.

    Of counts with variance ``net / gain + reading**2`` the logarithm has that over ``net**2``, and
    what is systematic besides.
    """
    import torch

    reading = 0.0
    if gain is not None and darks is not None and len(darks) > 1:
        reading = _median(darks.detach().var(0))
    precision = net**2 / (net / (gain or 1.0) + reading + (systematic * net) ** 2)
    return torch.where(live, precision, torch.zeros_like(precision))


def _warn(report: PreprocessReport, has_flats: bool) -> None:
    if report.masked > _MOST_DEAD:
        warn_user(
            f"counts: expected most bins to be alive, got {100 * report.masked:.3g} % of the "
            "values masked; darks, flats and saturation say which",
            MeasurementWarning,
        )
    if has_flats and report.air is not None and abs(math.log(report.air)) > _AIR_TOLERANCE:
        warn_user(
            f"air: expected about as many counts as in the flats, got {report.air:.3g} of them; "
            "do these columns see the object, or are the flats of another exposure?",
            MeasurementWarning,
        )
