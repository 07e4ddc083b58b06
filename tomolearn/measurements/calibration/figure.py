"""Figure of a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tomolearn.measurements.calibration.calibrate import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_calibration(found: Calibration) -> Figure:
    """Draw residuals before and after, and those over the offsets that were searched.

    Parameters
    ----------
    found : Calibration
        What `calibrate` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Of one panel, or two if offsets were searched.
    """
    from matplotlib.figure import Figure

    panels = 2 if found.profile else 1
    figure = Figure(figsize=(4.5 * panels, 3.4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    places = range(2)
    for shift, label, before, after in (
        (-0.2, "all views", found.residual_before, found.residual_after),
        (0.2, "views left out", found.left_out_before, found.left_out_after),
    ):
        axes[0].bar([k + shift for k in places], [before, after], width=0.4, label=label)
    axes[0].set_xticks(list(places), ["before", "after"])
    axes[0].set_ylabel("residual / data")
    axes[0].legend()
    if found.profile:
        offsets, misfits = zip(*found.profile, strict=True)
        axes[1].plot(offsets, misfits, ".-", markersize=3)
        axes[1].axvline(found.values["detector_offset"], color="tab:orange", linewidth=1)
        axes[1].set_xlabel("detector offset in mm")
        axes[1].set_ylabel("residual / data, binned")
    return figure
