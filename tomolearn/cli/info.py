"""``tomolearn info``: what is installed, and what it can do."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tomolearn.cli.output import print_table

# What is imported or shown -> what it is called where it is installed from.
_PACKAGES = {
    "torch": "torch",
    "numpy": "numpy",
    "numba": "numba",
    "odl": "odl",
    "astra": "astra-toolbox",
    "tomosipo": "tomosipo",
    "pydicom": "pydicom",
}


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of tomolearn and of what it computes with; None: missing."""
    import platform
    from importlib import metadata

    import tomolearn

    found: dict[str, str | None] = {
        "tomolearn": tomolearn.__version__,
        "python": platform.python_version(),
    }
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> None:
    """Show versions, devices, and which backends are installed and what they can do."""
    found = {"versions": versions(), "devices": _devices(), "backends": _backends()}
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


def _remedy(error: ImportError) -> str:
    text = str(error)
    if "remedy: " in text:
        return text.partition("remedy: ")[2]
    package = (error.name or "").partition(".")[0]
    return f"pip install {_PACKAGES.get(package, package)}" if package else text


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
