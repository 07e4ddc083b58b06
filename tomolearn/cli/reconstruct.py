"""``tomolearn reconstruct``: an image from a measured sinogram."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from tomolearn.geometry import Grid

__all__ = ["Method", "reconstruct"]


class Method(StrEnum):
    """Methods by the names of the command line."""

    FBP = "fbp"
    TV = "tv"
    SIRT = "sirt"
    CGLS = "cgls"
    LANDWEBER = "landweber"
    TIKHONOV = "tikhonov"
    KACZMARZ = "kaczmarz"


_ITERATIVE = ("iterations",)
_OPTIONS: dict[str, tuple[str, ...]] = {
    "network": ("image_scale",),
    Method.FBP: ("filter", "frequency_scaling"),
    Method.TV: ("weight", "iterations"),
    Method.SIRT: _ITERATIVE,
    Method.CGLS: _ITERATIVE,
    Method.LANDWEBER: _ITERATIVE,
    Method.TIKHONOV: ("weight", "iterations"),
    Method.KACZMARZ: _ITERATIVE,
}


def reconstruct(
    sinogram: Annotated[
        Path,
        typer.Argument(help="Line integrals, .npy, .npz or .h5 of shape (..., angles, detectors)."),
    ],
    scan: Annotated[Path, typer.Option(help="Grid and scan, as save_geometry writes them.")],
    out: Annotated[Path, typer.Option(help="Image to write: .npy, .npz or .h5, float32 in 1/mm.")],
    method: Annotated[
        Method | None, typer.Option(help="Method. Default: fbp.", show_default=False)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Trained network instead of a method: a name of `models`, or a path."),
    ] = None,
    image_scale: Annotated[
        float | None,
        typer.Option(
            help="network: what image values are multiplied by to be like those of its training. "
            "Default: 1."
        ),
    ] = None,
    filter_name: Annotated[
        str | None,
        typer.Option(
            "--filter", help="fbp: ram-lak (default), shepp-logan, cosine, hamming or hann."
        ),
    ] = None,
    frequency_scaling: Annotated[
        float | None, typer.Option(help="fbp: cut-off as a part of Nyquist's frequency.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="tv, tikhonov: weight of the penalty; required.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="All but fbp: largest number of iterations.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the array in a .npz or .h5 file of several.")
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Picture (.png) of the first image, for a first look.")
    ] = None,
    backend: Annotated[str, typer.Option(help="joseph, astra, odl, tomosipo or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Reconstruct an image from line integrals."""
    if network is not None and method is not None:
        raise TomolearnError(f"--method: expected none beside --network, got {method}")
    options = _chosen_options(
        method or (Method.FBP if network is None else "network"),
        {
            "image_scale": image_scale,
            "filter": filter_name,
            "frequency_scaling": frequency_scaling,
            "weight": weight,
            "iterations": iterations,
        },
    )
    from tomolearn.cli.output import ARRAY_SUFFIXES, check_target, write_array

    check_target(out, force=force, suffixes=ARRAY_SUFFIXES)
    if preview is not None:
        check_target(preview, force=force, suffixes=(".png",))

    import torch

    from tomolearn._core.tensors import check_device
    from tomolearn.cli.arrays import read_sinogram
    from tomolearn.geometry import load_geometry
    from tomolearn.operators import RayTransform

    place = check_device("--device", device)
    grid, scanner = load_geometry(scan)
    operator = RayTransform(grid, scanner, backend)
    values = read_sinogram(sinogram, dataset, scanner.shape)
    # before a message about something else: whether this machine can compute it at all
    operator.backend_on(place)
    function = _function(method or Method.FBP) if network is None else _network(network, place)
    start = time.perf_counter()
    image = function(torch.from_numpy(values).to(place), operator, **options).cpu()
    seconds = time.perf_counter() - start
    write_array(out, image.numpy())
    name = network or str(method or Method.FBP)
    if preview is not None:
        _write_preview(preview, image, grid, name)
    shape = " x ".join(map(str, image.shape))
    typer.echo(f"{out}: {shape}, float32, by {name} in {seconds:.2f} s")


def _chosen_options(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; one that the method has not is an error."""
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if name not in _OPTIONS[method]:
            users = ", ".join(other for other, options in _OPTIONS.items() if name in options)
            flag = "--" + name.replace("_", "-")
            raise TomolearnError(f"{flag}: expected with {users} only, got it with {method}")
    if "weight" in _OPTIONS[method] and "weight" not in chosen:
        raise TomolearnError(f"--weight: expected a number with {method}, got none")
    return chosen


def _function(method: Method) -> Callable[..., torch.Tensor]:
    from tomolearn import methods

    functions: dict[Method, Callable[..., torch.Tensor]] = {
        Method.FBP: methods.fbp,
        Method.TV: methods.total_variation,
        Method.SIRT: methods.sirt,
        Method.CGLS: methods.cgls,
        Method.LANDWEBER: methods.landweber,
        Method.TIKHONOV: methods.tikhonov,
        Method.KACZMARZ: methods.kaczmarz,
    }
    return functions[method]


def _network(name: str, device: torch.device) -> Callable[..., torch.Tensor]:
    import torch

    from tomolearn._core.checks import check_float
    from tomolearn.operators import RayTransform
    from tomolearn.training import load

    model = load(name, device=device)

    @torch.no_grad()
    def reconstruct(
        sinogram: torch.Tensor, operator: RayTransform, image_scale: float = 1.0
    ) -> torch.Tensor:
        scale = check_float("--image-scale", image_scale, positive=True)
        return model(sinogram * scale, operator) / scale

    return reconstruct


def _write_preview(path: Path, image: torch.Tensor, grid: Grid, title: str) -> None:
    """Draw the first image of a batch, of a volume its middle slice."""
    from tomolearn.cli.output import complete_file
    from tomolearn.evaluation.figures import draw_images

    first = image.reshape(-1, *grid.shape)[0]
    if first.ndim == 3:
        first = first[len(first) // 2]
    low, high = float(first.min()), float(first.max())
    figure = draw_images(
        {title: first.numpy()},
        window=(low, high if high > low else low + 1.0),
        unit="1/mm",
        spacing=(grid.spacing[-2], grid.spacing[-1]),
    )
    with complete_file(path) as stream:
        figure.savefig(stream, format="png")
