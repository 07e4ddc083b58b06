"""DICOM over the network: a receiver of CT images (C-STORE, C-ECHO), and sending."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import pydicom
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import sync_folder, write_bytes
from tomolearn._core.optional import optional_import
from tomolearn.dicom.elements import DAMAGE, element_error, text

_CT: Final = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_KEYWORDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_SUCCESS, _OUT_OF_RESOURCES, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_SECONDS: Final = 30.0
"""Longest wait for an answer of the other side."""


@dataclass(frozen=True)
class Peer:
    """An application entity on the network.

    Parameters
    ----------
    aet : str
        Its title, at most 16 characters.
    host : str
        Name or address.
    port : int
        Port, 1 to 65535.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above.
    """

    aet: str
    host: str
    port: int

    def __post_init__(self) -> None:
        check_aet("aet", self.aet)
        if not self.host:
            raise TomolearnError("host: expected a name or an address, got none")
        check_int("port", self.port, minimum=1, maximum=65535)

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Return the peer of ``AET@HOST:PORT``; errors begin with `name`."""
        found = re.fullmatch(r"([^@]+)@(.+):(\d+)", text)
        if found is None:
            raise TomolearnError(f"{name}: expected AET@HOST:PORT, got {text!r}")
        aet, host, port = found.groups()
        return cls(aet, host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


def check_aet(name: str, aet: str) -> str:
    """Return a title of an application entity.

    Raises
    ------
    ValueError
        If it is none.
    """
    plain = aet.isascii() and aet.isprintable() and "\\" not in aet
    if not plain or not 1 <= len(aet) <= 16 or aet != aet.strip():
        raise TomolearnError(
            f"{name}: expected 1 to 16 ASCII characters without backslash and without blanks at "
            f"the ends, got {aet!r}"
        )
    return aet


class Receiver:
    """A storage service for CT images, which lie in a folder for each series.

    An image is acknowledged when it is on the disk, as it came, as
    ``<folder>/<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm``; another one with the
    same SOPInstanceUID gets a name of its own. As a context manager it listens within the block.

    Parameters
    ----------
    folder : path
        Where images go; made if missing.
    aet : str
        Our title, by which others have to call.
    port : int
        Port to listen at; 0 for any that is free.
    host : str
        Address to listen at. Who can reach it can store images, and nothing is encrypted.
    accept : sequence of str
        Titles that may call; empty for all.
    arriving : callable
        Called with the folder of a series before an image of it is written.
    arrived : callable
        Called with the folder of a series after an image of it is on the disk.
    tell : callable
        Called with a line about each image that was not stored.

    Attributes
    ----------
    port : int
        Where it listens.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above.
    ImportError
        If pynetdicom is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        aet: str,
        port: int,
        host: str = "127.0.0.1",
        accept: Sequence[str] = (),
        arriving: Callable[[Path], None] = lambda _: None,
        arrived: Callable[[Path], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        network = _network()
        self._folder, self._host = folder, host
        self._arriving, self._arrived, self._tell = arriving, arrived, tell
        self.port = check_int("port", port, minimum=0, maximum=65535)
        self._entity = network.AE(ae_title=check_aet("aet", aet))
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = [check_aet("accept", one) for one in accept]
        self._entity.network_timeout = self._entity.dimse_timeout = _SECONDS
        for storage in _CT:
            self._entity.add_supported_context(storage, network.ALL_TRANSFER_SYNTAXES)
        self._entity.add_supported_context(network.sop_class.Verification)
        self._open: dict[Any, set[Path]] = {}
        self._lock = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Self:
        evt = _network().evt
        (self._folder / _ARRIVING).mkdir(parents=True, exist_ok=True)
        for path in (self._folder / _ARRIVING).iterdir():
            path.unlink()  # was not acknowledged
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        try:
            self._server = self._entity.start_server(
                (self._host, self.port), block=False, evt_handlers=handlers
            )
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: port {self.port} of {self._host}"
            ) from error
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def is_receiving(self, folder: Path) -> bool:
        """Return whether an association is open that has sent images of a series."""
        with self._lock:
            return any(folder in folders for folders in self._open.values())

    def _closed(self, event: Any) -> None:
        with self._lock:
            self._open.pop(event.assoc, None)

    def _store(self, event: Any) -> int:
        """Handle one C-STORE request; the return value is the status of the answer."""
        content, told = event.encoded_dataset(), str(event.request.AffectedSOPInstanceUID)
        try:
            study, series, instance = _identifiers(content, told)
        except DAMAGE as error:
            self._tell(f"{told} of {event.assoc.requestor.ae_title} was refused: {error}")
            return _NOT_UNDERSTOOD
        folder = self._folder / study / series
        with self._lock:
            self._open.setdefault(event.assoc, set()).add(folder)
        try:
            self._arriving(folder)
            self._write(folder, instance, content)
        except OSError as error:
            self._tell(f"{instance} was not stored: {error}")
            return _OUT_OF_RESOURCES
        self._arrived(folder)
        return _SUCCESS

    def _write(self, folder: Path, instance: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = folder / f"{instance}.dcm"
        if path.exists() and path.read_bytes() != content:
            path = folder / f"{instance}-{digest}.dcm"
        if path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        # apart from the complete ones: a batch may be reading these
        waiting = self._folder / _ARRIVING / f"{threading.get_ident()}-{instance}.dcm"
        write_bytes(waiting, content)
        os.replace(waiting, path)
        sync_folder(folder)
        sync_folder(folder.parent)


_ARRIVING = ".arriving"


def _identifiers(content: bytes, told: str) -> list[str]:
    """Return the identifiers of study, series and image."""
    dataset = pydicom.dcmread(
        io.BytesIO(content), stop_before_pixels=True, specific_tags=list(_KEYWORDS)
    )
    found = [text(dataset, keyword) for keyword in _KEYWORDS]
    for keyword, value in zip(_KEYWORDS, found, strict=True):
        if not _UID.fullmatch(value) or len(value) > 64:
            raise element_error(keyword, "an identifier", value)
    if found[-1] != told:
        raise element_error(_KEYWORDS[-1], f"that of the request, {told}", found[-1])
    return found


def send_files(files: Sequence[Path], peer: Peer, *, aet: str) -> None:
    """Send images to an archive by C-STORE, in one association.

    Parameters
    ----------
    files : sequence of path
        DICOM files.
    peer : Peer
        To whom.
    aet : str
        Our title.

    Raises
    ------
    ConnectionError
        If the peer cannot be reached, refuses us, or does not store one of the images.
    OSError, ValueError
        If a file cannot be read.
    """
    network = _network()
    contexts: dict[str, list[str]] = {}
    for path in files:
        meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
        syntaxes = contexts.setdefault(meta.MediaStorageSOPClassUID, [])
        if meta.TransferSyntaxUID not in syntaxes:
            syntaxes.append(meta.TransferSyntaxUID)
    entity = network.AE(ae_title=check_aet("aet", aet))
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _SECONDS
    entity.connection_timeout = _SECONDS
    for storage, syntaxes in contexts.items():
        for syntax in syntaxes:
            entity.add_requested_context(storage, syntax)
    association = entity.associate(peer.host, peer.port, ae_title=peer.aet)
    if not association.is_established:
        refused = "refused the association" if association.is_rejected else "could not be reached"
        raise ConnectionError(f"{peer}: {refused}")
    try:
        for path in files:
            try:
                answer = association.send_c_store(path)
            except ValueError as error:  # no accepted context, in pynetdicom's words
                raise ConnectionError(f"{peer}: {path.name} is not accepted: {error}") from error
            status = answer.get("Status")
            # 0xB000 to 0xBFFF are warnings: it is stored
            if status is None or (status != _SUCCESS and status >> 12 != 0xB):
                said = "no answer" if status is None else f"status {status:#06x}"
                raise ConnectionError(f"{peer}: {path.name} was not stored: {said}")
    finally:
        association.release()


def _network() -> ModuleType:
    network = optional_import(
        "pynetdicom", purpose="DICOM over the network", install="pip install 'tomolearn[node]'"
    )
    optional_import("pynetdicom.sop_class", purpose="DICOM over the network", install="")
    return network
