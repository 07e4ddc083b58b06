"""A second application entity to talk to: it sends images, and keeps those that it gets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import Verification


@contextmanager
def connected(port: int, *, aet: str = "TOMOLEARN", own: str = "SCANNER") -> Iterator[Any]:
    """Yield an association with the entity that listens at a port of this machine."""
    entity = AE(ae_title=own)
    for syntax in ALL_TRANSFER_SYNTAXES:
        entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", syntax)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=aet)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(port: int, files: Sequence[Path], **titles: str) -> list[int]:
    """Send files in one association, and return the statuses of the answers."""
    with connected(port, **titles) as association:
        return [association.send_c_store(path).Status for path in files]


@contextmanager
def archive(*, status: int = 0, aet: str = "ARCHIVE") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the port of an archive and the images that it has got, by their SOPInstanceUID."""
    kept: dict[str, Any] = {}

    def keep(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        kept[str(dataset.SOPInstanceUID)] = dataset
        return status

    entity = AE(ae_title=aet)
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2", ALL_TRANSFER_SYNTAXES)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    try:
        yield server.server_address[1], kept
    finally:
        server.shutdown()


def header(path: Path) -> pydicom.Dataset:
    """Return the elements of a file before its pixels."""
    return pydicom.dcmread(path, stop_before_pixels=True)
