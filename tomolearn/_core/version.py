"""Versions of the package and of what it computes with, for files and reports."""

from __future__ import annotations

__version__ = "0.2.0"

# What is imported or shown -> what it is called where it is installed from.
PACKAGES = {
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

    found: dict[str, str | None] = {
        "tomolearn": __version__,
        "python": platform.python_version(),
    }
    for name, distribution in PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
