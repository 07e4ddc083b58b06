"""``tomolearn demo``: a real slice, scanned with few photons, and the learned methods' test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.evaluate import print_comparison
from tomolearn.cli.output import print_table

if TYPE_CHECKING:
    from tomolearn.evaluation import Comparison
    from tomolearn.evaluation.low_dose import Experiment

_TASK = "ellipses"
_PAIRS = 5


def demo(
    slice_path: Annotated[
        Path | None,
        typer.Option("--input", help="CT slice (DICOM). Default: the one that pydicom ships."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")] = Path(
        "tomolearn-demo"
    ),
    views: Annotated[int, typer.Option(min=1, help="Views over the full turn.")] = 45,
    photons: Annotated[
        float, typer.Option(help="Photons per detector element without an object.")
    ] = 20000.0,
    electronic_std: Annotated[
        float, typer.Option(help="Electronic noise: standard deviation in photons.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    frequency_scaling: Annotated[
        float, typer.Option(help="Cut-off of FBP's Hann filter as a part of Nyquist's frequency.")
    ] = 0.6,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of TV.")] = 300,
    weight: Annotated[
        float | None, typer.Option(help="Weight of TV in mm. Default: one that suits the noise.")
    ] = None,
    window: Annotated[
        tuple[float, float], typer.Option(help="Black and white of the pictures, in HU.")
    ] = (-600.0, 700.0),
    learned: Annotated[
        bool,
        typer.Option(help="Compare the shipped networks with FBP and TV on the Shepp-Logan test."),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite earlier results.")] = False,
) -> None:
    """Scan a real CT slice with few views and photons, and reconstruct it by FBP and TV.

    Prints PSNR, SSIM, error and time, and writes a figure, the reconstructions (.npy in 1/mm,
    .png), the sinogram with its scan, and all settings. The same seed gives the same result.
    Networks serve what they were trained for: those that come with the package are shown on the
    test of their task, Shepp-Logan from 30 noisy views, in a table and figure of their own.
    """
    from tomolearn.cli.demo_files import check_folder, write_comparison, write_results
    from tomolearn.dicom import example_slice_path, read_slice
    from tomolearn.evaluation.low_dose import Settings, run

    if not window[0] < window[1]:
        raise TomolearnError(
            f"--window: expected an increasing pair, got {window[0]:g} {window[1]:g}"
        )
    source = example_slice_path() if slice_path is None else slice_path
    ct_slice = read_slice(source)
    check_folder(out, force=force)
    settings = Settings(views, photons, electronic_std, seed, frequency_scaling, iterations, weight)
    experiment = run(ct_slice, settings, progress=sys.stderr.isatty())
    write_results(out, source.name, ct_slice, experiment, window)
    _print_table(source.name, experiment)
    if learned:
        comparison = _learned()
        print_comparison(comparison)
        write_comparison(out, comparison)
    typer.echo(f"Results: {out}")


def _learned() -> Comparison:
    """Try the shipped networks, and what they are to beat, on the test of their task."""
    from tomolearn.evaluation import compare
    from tomolearn.tasks import get_task
    from tomolearn.training import shipped

    task = get_task(_TASK)
    cards = shipped()
    # priors and samplers take minutes
    networks = [
        name
        for name, card in cards.items()
        if card["task"] == task.name and card["kind"] == "model"
    ]
    # the best one last
    networks.sort(key=lambda name: cards[name]["metrics"].get("psnr", 0.0))
    return compare(task, [*task.baselines, *networks], images=_PAIRS)


def _print_table(name: str, experiment: Experiment) -> None:
    from tomolearn.evaluation.low_dose import CONVENTION

    views, bins = experiment.measurement.operator.scan.shape
    heads = ("method", "PSNR / dB", "SSIM", "RMSE / HU", "ms")
    print_table(
        heads,
        [
            (method, f"{r.psnr:.2f}", f"{r.ssim:.4f}", f"{r.rmse:.1f}", f"{1000 * r.seconds:.0f}")
            for method, r in experiment.results.items()
        ],
        right=heads[1:],
        title=f"{name}: fan beam, {views} views, {bins} bins",
        caption=f"PSNR and SSIM: data range {CONVENTION.psnr_range:g} HU, nothing clipped, without "
        "the outermost 4 pixels. Times: after compilation.",
    )
