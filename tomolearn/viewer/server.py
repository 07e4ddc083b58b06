"""Local web server of the viewer: pages, slices as PNG, and what lies beside a report."""

from __future__ import annotations

import functools
import html
import io
import json
import math
import secrets
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.version import __version__
from tomolearn.viewer.stacks import Comparison

_TYPES = {
    ".css": "text/css",
    ".csv": "text/csv; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_CACHED = 32  # slices that are kept in memory


class ViewerServer:
    """A web server for this machine alone, with one page for each comparison.

    Addresses begin with a token that nobody else on the machine knows. As a context manager it
    serves within the block.

    Parameters
    ----------
    comparisons : sequence of Comparison
        What there is to see.
    report : path, optional
        An HTML file that is shown first. Links in it to the key of a comparison lead to its page;
        pictures, style sheets and tables that lie beside or below it are served.
    port : int
        Port of 127.0.0.1; 0 for any that is free.

    Attributes
    ----------
    url : str
        Address of the first page.

    Raises
    ------
    OSError
        If the port is taken.
    ValueError
        If there is nothing to see.
    """

    def __init__(
        self, comparisons: Sequence[Comparison], *, report: Path | None = None, port: int = 0
    ) -> None:
        if not comparisons and report is None:
            raise TomolearnError("comparisons: expected at least one, or a report, got none")
        self._comparisons = {one.key: one for one in comparisons}
        self._report = None if report is None else report.absolute()
        self._token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.viewer = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self._token}/"
        self._slice = functools.lru_cache(maxsize=_CACHED)(self._read)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, address: str, host: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, type and content for an address."""
        port = self._server.server_port
        parts = urlsplit(address)
        token, _, place = parts.path.lstrip("/").partition("/")
        # a page of the internet whose name leads here would have another host
        if host not in (f"127.0.0.1:{port}", f"localhost:{port}") or not secrets.compare_digest(
            token.encode(), self._token.encode()
        ):
            return _text(HTTPStatus.FORBIDDEN, "the address lacks its token")
        place = unquote(place)
        if place.startswith("slice/"):
            return self._png(place.removeprefix("slice/"), parse_qs(parts.query))
        key = place.removeprefix("view/").strip("/")
        if key in self._comparisons:
            return self._page(self._comparisons[key])
        if not place:
            return self._index()
        return self._beside(place)

    def _index(self) -> tuple[HTTPStatus, str, bytes]:
        if self._report is not None:
            return HTTPStatus.OK, _TYPES[".html"], self._report.read_bytes()
        if len(self._comparisons) == 1:
            (only,) = self._comparisons.values()
            return self._page(only)
        items = "".join(
            f'<li><a href="view/{quote(one.key)}">{html.escape(one.name)}</a> '
            f"{one.stacks[0].shape[0]} slices</li>"
            for one in self._comparisons.values()
        )
        text = f"<!DOCTYPE html><meta charset=utf-8><title>tomolearn</title><ul>{items}</ul>"
        return HTTPStatus.OK, _TYPES[".html"], text.encode()

    def _page(self, one: Comparison) -> tuple[HTTPStatus, str, bytes]:
        state = {
            "key": one.key,
            "name": one.name,
            "note": one.note,
            "root": f"/{self._token}/",
            "home": len(self._comparisons) > 1 or self._report is not None,
            "slices": one.stacks[0].shape[0],
            "version": __version__,
            "panes": [
                {
                    "name": pane.name,
                    "unit": pane.unit,
                    "rows": pane.shape[1],
                    "columns": pane.shape[2],
                    "aspect": pane.aspect,
                    "window": pane.window,
                }
                for pane in one.panes
            ],
        }
        # within a script nothing may look like its end
        encoded = json.dumps(state).replace("<", "\\u003c")
        text = _template().replace("__TITLE__", html.escape(one.name)).replace("__STATE__", encoded)
        return HTTPStatus.OK, _TYPES[".html"], text.encode()

    def _png(self, place: str, query: dict[str, list[str]]) -> tuple[HTTPStatus, str, bytes]:
        key, pane, number = place.rsplit("/", 2) if place.count("/") >= 2 else ("", "", "")
        try:
            low, high = (float(query[name][0]) for name in ("low", "high"))
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                return _text(HTTPStatus.BAD_REQUEST, "expected low < high")
            values = self._slice(key, int(pane), int(number))
        except (KeyError, IndexError, ValueError) as error:
            return _text(HTTPStatus.NOT_FOUND, f"{place}: {error}")
        except OSError as error:
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        return HTTPStatus.OK, _TYPES[".png"], _encoded(values, low, high)

    def _read(self, key: str, pane: int, number: int) -> NDArray[np.float32]:
        stack = self._comparisons[key].panes[pane]
        if pane < 0 or not 0 <= number < stack.shape[0]:
            raise IndexError(f"expected a slice from 0 to {stack.shape[0] - 1}, got {number}")
        return stack.read(number)

    def _beside(self, place: str) -> tuple[HTTPStatus, str, bytes]:
        """Return a file that lies beside the report, or below its folder."""
        path = PurePosixPath(place)
        kind = _TYPES.get(path.suffix.lower())
        if self._report is None or kind is None or path.is_absolute() or ".." in path.parts:
            return _text(HTTPStatus.NOT_FOUND, "there is no such page")
        folder = resolved(self._report.parent)
        file = resolved(folder / path)
        if not file.is_relative_to(folder) or not file.is_file():
            return _text(HTTPStatus.NOT_FOUND, "there is no such page")
        return HTTPStatus.OK, kind, file.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tomolearn"

    def do_GET(self) -> None:
        viewer: ViewerServer = self.server.viewer  # type: ignore[attr-defined]
        status, kind, content = viewer.answer(self.path, self.headers.get("Host", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep addresses, which have the token, off the terminal."""


@functools.cache
def _template() -> str:
    return resources.files("tomolearn.viewer").joinpath("page.html").read_text(encoding="utf-8")


def _text(status: HTTPStatus, text: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", text.encode()


def _encoded(values: NDArray[np.float32], low: float, high: float) -> bytes:
    """Return a PNG of grey values from `low` (black) to `high`; what is no number is black."""
    from PIL import Image

    grey = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    stream = io.BytesIO()
    Image.fromarray((255 * grey + 0.5).astype(np.uint8)).save(
        stream, format="PNG", compress_level=1
    )
    return stream.getvalue()
