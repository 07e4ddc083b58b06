"""``tomolearn info``: what is installed, and what it can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tomolearn._core.version import PACKAGES, versions
from tomolearn.cli.output import print_table


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    scan: Annotated[
        Path | None,
        typer.Option(help="Grid and scan, as save_geometry writes them: show their memory, too."),
    ] = None,
) -> None:
    """Show versions, devices, what backends can do, and the memory of a scan."""
    found = {"versions": versions(), "devices": _devices(), "backends": _backends()}
    if scan is not None:
        found["memory"] = _memory(scan)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print_tables(found)


def _devices() -> dict[str, Any]:
    import os

    import torch

    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"cpu": {"cores": os.cpu_count(), "threads": torch.get_num_threads()}, "cuda": gpus}


def _backends() -> dict[str, dict[str, Any]]:
    from tomolearn.operators.backends import BACKENDS, load_backend

    found: dict[str, dict[str, Any]] = {}
    for name in BACKENDS:
        try:
            found[name] = {"installed": True, **load_backend(name).capabilities._asdict()}
        except ImportError as error:
            found[name] = {"installed": False, "remedy": _remedy(error)}
    return found


def _memory(path: Path) -> dict[str, Any]:
    """Return in bytes what one image in float32 needs on a CPU, and what is available."""
    import math

    from tomolearn._core.memory import Arrays, available_bytes
    from tomolearn.geometry import load_geometry
    from tomolearn.methods import METHODS
    from tomolearn.operators import RayTransform
    from tomolearn.operators.memory import memory_needed

    grid, scanner = load_geometry(path)
    operator = RayTransform(grid, scanner)
    methods = {}
    for name, kind in METHODS.items():
        held = kind.memory
        if isinstance(held, property):  # it depends on the settings
            held = kind().memory
        if isinstance(held, Arrays):
            methods[name] = memory_needed(operator, held).total
    return {
        "available": available_bytes(),
        "image": 4 * math.prod(grid.shape),
        "sinogram": 4 * math.prod(scanner.shape),
        "projector": operator.working_bytes(4),
        "methods": methods,
    }


def _remedy(error: ImportError) -> str:
    text = str(error)
    if "remedy: " in text:
        return text.partition("remedy: ")[2]
    package = (error.name or "").partition(".")[0]
    return f"pip install {PACKAGES.get(package, package)}" if package else text


def _print_tables(found: dict[str, Any]) -> None:
    packages = [(name, version or "not installed") for name, version in found["versions"].items()]
    print_table(("package", "version"), packages, title="Versions")
    cpu, cuda = found["devices"]["cpu"], found["devices"]["cuda"]
    devices = [("cpu", f"{cpu['cores']} cores, {cpu['threads']} threads in use")]
    devices += [(f"cuda:{number}", name) for number, name in enumerate(cuda)]
    devices += [] if cuda else [("cuda", "none that torch sees")]
    print_table(("device", "what"), devices, title="Devices")
    about = ("scans", "devices", "precision", "adjoint")
    backends = [
        (name, *(backend[key] for key in about))
        if backend["installed"]
        else (name, f"not installed; {backend['remedy']}")
        for name, backend in found["backends"].items()
    ]
    print_table(("backend", *about), backends, title="Backends")
    if "memory" in found:
        _print_memory(found["memory"])


def _print_memory(found: dict[str, Any]) -> None:
    from tomolearn._core.memory import gib

    sizes = [(name, found[name]) for name in ("image", "sinogram", "projector")]
    sizes += [(f"{name}, besides the sinogram", size) for name, size in found["methods"].items()]
    available = found["available"]
    limit = float("inf") if available is None else available
    rows = [
        (name, gib(size), "more than is available" if size > limit else "") for name, size in sizes
    ]
    told = "not told" if available is None else gib(available)
    print_table(
        ("what", "memory", ""),
        rows,
        right=("memory",),
        title="Memory on a CPU in float32, at the peak",
        caption=f"available: {told}",
    )
