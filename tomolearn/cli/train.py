"""``tomolearn train``: train a network on a task."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.signals import INTERRUPTED

if TYPE_CHECKING:
    from tomolearn.training.config import TrainingConfig as Config
    from tomolearn.training.run import TrainingResult


def train(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK",
            help="Network, by name or as path/to/file.py:Net; the file of settings may have it.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task, see `tomolearn tasks`, or path/to/file.py:task."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images in place of a task: .npy, .npz, .h5, PNG, TIFF or DICOM."
        ),
    ] = None,
    scan: Annotated[
        Path | None, typer.Option(help="With --images: JSON file of grid and scan.")
    ] = None,
    photons: Annotated[
        float | None, typer.Option(help="With --images: photons per detector element.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="With --images: Gaussian noise, in multiples of a sinogram's mean."),
    ] = None,
    attenuation: Annotated[
        float | None,
        typer.Option(help="With --photons: what an image value of 1 stands for, in 1/mm."),
    ] = None,
    image_scale: Annotated[
        float | None,
        typer.Option(
            help="With --images: what values are multiplied by, those of DICOM being attenuation "
            "in 1/mm. Default: that of --weights, or 1; images of integers have none."
        ),
    ] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="With --images: stretch others to the grid.")
    ] = False,
    split_by: Annotated[
        str | None,
        typer.Option(
            help="With --images: patient, folder or file, which is never torn apart. Default: "
            "patients of DICOM files, or else files."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Begin with weights, by name or path, and with their network."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data of the task, or a file that `tomolearn simulate` wrote."),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="File of validation pairs, such as `simulate` writes.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="supervised (default), denoising, or path/to/file.py:Objective."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Of validations: psnr (default), ssim, or path/to/file.py:function."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/TASK-MODEL-SEED.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file of settings.", exists=True)
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, name=value; may be given again."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Length in time, such as 90m; the schedule is fitted to it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes per node.")] = None,
    num_nodes: Annotated[int | None, typer.Option(min=1, help="Nodes.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder.")
    ] = False,
    test: Annotated[
        int, typer.Option(min=0, help="Test pairs to measure the result on, for its card.")
    ] = 10,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a network on a task, or on images of your own.

    It leaves logs, checkpoints and weights in a folder, from which it can be resumed.
    """
    from tomolearn._core.optional import optional_import
    from tomolearn._core.tables import short_name

    for package in ("lightning", "tensorboard"):
        optional_import(package, purpose="training", install="pip install 'tomolearn[train]'")
    from tomolearn.training.config import TrainingConfig, read_config, with_overrides
    from tomolearn.training.folder import CHECKPOINT, read_run
    from tomolearn.training.run import train as run

    given = {name: value for name, value in context.params.items() if value is not None}
    values: dict[str, Any] = {} if config is None else read_config(config)
    # the option image_scale is of the images, the setting of that name of the network
    settings_given = TrainingConfig.model_fields.keys() - {"image_scale"}
    values |= {name: given[name] for name in settings_given if name in given}
    if weights is not None:
        of_weights, known_scale = _begin_with(weights)
        values = of_weights | values
        if image_scale is None and images is not None and known_scale is not None:
            image_scale = known_scale
            typer.echo(f"image scale {image_scale:g}, that of {weights}", err=True)
    given |= {"image_scale": image_scale, "resize": resize or None}
    names = ("photons", "noise", "attenuation", "image_scale", "resize", "split_by")
    of_images = {name: given[name] for name in names if given.get(name) is not None}
    if images is not None:
        if task is not None or scan is None:
            expected = "none beside --images" if task is not None else "--scan with --images"
            raise TomolearnError(f"task: expected {expected}, got {task}")
        from tomolearn.tasks import folder_task

        values["task"] = folder_task(images, scan, **of_images)
        typer.echo(values["task"].description, err=True)
    elif of_images or scan is not None:
        given_name = next(iter(of_images), "scan")
        raise TomolearnError(f"{given_name}: expected with --images only")
    directory = out or _default_folder(values)
    if resume:
        values = read_run(directory) | values
    for name in ("model", "task"):
        if name not in values:
            raise TomolearnError(f"{name}: expected one, as an argument or in the file of settings")
    settings = with_overrides(values, override or [])
    try:
        result = run(
            settings,
            directory,
            resume=resume,
            progress=progress and sys.stdout.isatty(),
            command=shlex.join(["tomolearn", *sys.argv[1:]]),
        )
    except (SystemExit, KeyboardInterrupt) as stop:
        typer.echo(f"interrupted; {_kept(directory)}", err=True)
        code = INTERRUPTED if isinstance(stop, KeyboardInterrupt) else stop.code
        raise typer.Exit(code if isinstance(code, int) else 1) from stop
    except Exception:
        if (directory / CHECKPOINT).exists():
            typer.echo(_kept(directory), err=True)
        raise
    if not result.is_first:
        return
    shown = "PSNR" if settings.metric == "psnr" else short_name(settings.metric)
    unit = " dB" if settings.metric == "psnr" else ""
    typer.echo(
        f"{result.steps} steps in {result.hours:.2f} h, "
        f"validation {shown} {result.validation:{'.2f' if unit else '.4g'}}{unit}"
    )
    if test and hasattr(result.model, "reconstruct"):
        typer.echo(f"test PSNR {_tested(settings, result, test):.2f} dB")
    typer.echo(f"wrote {result.weights} (resumable: {directory / CHECKPOINT})")


def _kept(directory: Path) -> str:
    """Return in words what an end before its time has left, and how to go on."""
    from tomolearn.training.checkpointing import step_of
    from tomolearn.training.folder import CHECKPOINT, CONFIG

    if not (directory / CONFIG).exists():
        return "nothing had begun"
    step = step_of(directory / CHECKPOINT)
    kept = "no step was kept" if step is None else f"step {step} is kept"
    return f"{kept}; --out {directory} --resume continues the run"


def _begin_with(weights: str) -> tuple[dict[str, Any], float | None]:
    """Return the settings that go with weights, and the scale of their images if it is known."""
    from tomolearn._core.checkpoints.cards import is_foreign
    from tomolearn.training.weights import read_card

    _, card = read_card(weights)
    found = {"initial_weights": weights, "model_arguments": card["arguments"]}
    # where a class of a user's own stands is not taken from a file of weights
    if not is_foreign(card["model"]):
        found["model"] = card["model"]
    if card["kind"] == "denoiser":
        found["objective"] = "denoising"
    return found, card["training"].get("image_scale")


def _default_folder(values: dict[str, Any]) -> Path:
    from tomolearn._core.tables import short_name

    task, model = (values.get(name, "?") for name in ("task", "model"))
    names = [short_name(task) if isinstance(task, str) else task.name, short_name(model)]
    if "?" in names:
        raise TomolearnError(
            "--out: expected the folder of the run, or a task and a model to find it by"
        )
    return Path("runs") / "-".join([*names, str(values.get("seed", 0))])


def _tested(settings: Config, result: TrainingResult, pairs: int) -> float:
    """Measure weights on the task's test split, write it into their card, and return the PSNR."""
    from tomolearn.data import n_pairs
    from tomolearn.evaluation import compare
    from tomolearn.evaluation.tables import card_metrics
    from tomolearn.tasks import data_of_others
    from tomolearn.training.weights import annotate

    task, data = settings.find_task(), data_of_others(settings.data)
    size = n_pairs(task.pairs("test", data=data))
    pairs = pairs if size is None else min(pairs, size)
    comparison = compare(task, {"network": result.model}, data=data, images=pairs)
    annotate(result.weights, metrics=card_metrics(comparison))
    return comparison.rows[0].metrics["psnr"].mean
