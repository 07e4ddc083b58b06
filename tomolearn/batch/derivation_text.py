"""Texts of derived series: description, method, kernel and number of a batch's results."""

from __future__ import annotations

import hashlib

from tomolearn.batch.settings import BatchSettings
from tomolearn.dicom import Derivation, Series

_SH, _LO = 16, 64  # longest texts of DICOM's value representations


def derivation_of(settings: BatchSettings, source: Series) -> Derivation:
    """Return the derivation that the settings stand for.

    Its settings name the slices of the source, so that a series to which slices were added since
    becomes another one.
    """
    method = settings.method_name
    if settings.acquisition is None:
        what = "Processed in the image domain by tomolearn."
    else:
        whole = "Simulated cone-beam CT scan of the source series as one volume, "
        each = "Simulated CT scan of each slice of the source series, "
        one = "volume" if settings.of_volumes else "slice"
        what = (
            f"{whole if settings.of_volumes else each}reconstructed by tomolearn; "
            f"the {one} lies with its middle on the rotation axis. Scan: {settings.acquisition}."
        )
    digest = settings.digest()
    return Derivation(
        description=f"{what} Method: {_method(settings)}. Settings {digest}.",
        settings={**settings.to_dict(), "slices": _slices(source)},
        method=_plain(method)[:_LO],
        series_description=_plain(_short(settings))[:_LO],
        # an image that was processed and not reconstructed keeps its kernel
        kernel=None if settings.acquisition is None else _kernel(settings)[:_SH],
        number=1 + int(digest, 16) % 999,
    )


def _slices(source: Series) -> str:
    names = [f"{one.sop_instance_uid}/{one.frame}" for one in source.slices]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _method(settings: BatchSettings) -> str:
    name = settings.method_name
    if settings.fingerprint:
        what = "weights" if hasattr(settings.method, "weights") else "source"
        name = f"{name} ({what}, SHA-256 {settings.fingerprint[:16]})"
    options = ", ".join(f"{key} {value}" for key, value in settings.options.items())
    return _plain(f"{name}, {options}" if options else name)


def _short(settings: BatchSettings) -> str:
    return f"{settings.method_name.upper()}, {settings.acquisition or 'image domain'}"


def _kernel(settings: BatchSettings) -> str:
    window = getattr(settings.method, "filter", None)
    name = settings.method_name
    return _plain(name if window is None else f"{name.upper()} {window}")


def _plain(text: str) -> str:
    """Return a text in characters that every DICOM file can have."""
    return "".join(c if " " <= c <= "~" and c != "\\" else "_" for c in text)
