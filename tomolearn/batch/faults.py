"""Faults of the machine, told from those of single slices: they meet one slice after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# So many slices of a series in a row, lost for one reason: the others would be lost, too.
_ENOUGH_OF_A_SERIES = 8
# So many slices of several series in a row: it is not the series.
_ENOUGH_OF_A_RUN = 16
# So many slices of a run of which nothing came.
_ENOUGH_OF_NOTHING = 3


class FaultWatch:
    """Watch over the slices that a run loses to what may be the machine.

    A series that loses many in a row for one reason is given up; if the next ones lose theirs for
    the same reason, the run is.
    """

    def __init__(self) -> None:
        self.given_up: dict[str, str] = {}
        """Why, by the identifiers of the series."""
        self._fault, self._reason = "", ""
        self._row: list[str] = []
        self._n_written = 0

    def take(self, uid: str, record: Mapping[str, Any]) -> None:
        """Take the record of a chunk of a series.

        Raises
        ------
        OSError
            If the run is to be given up.
        """
        self._n_written += len(record["slices"])
        if record["slices"]:
            self._row.clear()
        for one in record["lost"]:
            if not one["transient"]:
                continue
            if one["fault"] != self._fault:
                self._row.clear()
            self._fault, self._reason = one["fault"], one["reason"]
            self._row.append(uid)
        last = self._row[-_ENOUGH_OF_A_SERIES:]
        if len(last) == _ENOUGH_OF_A_SERIES and set(last) == {uid}:
            self.given_up.setdefault(uid, self._reason)
        if len(self._row) >= _ENOUGH_OF_A_RUN and len(set(self._row)) > 1:
            self._end()

    def check_end(self) -> None:
        """Check that something came of the run.

        Raises
        ------
        OSError
            If nothing came of it for one reason.
        """
        if not self._n_written and len(self._row) >= _ENOUGH_OF_NOTHING:
            self._end()

    def _end(self) -> None:
        raise OSError(
            f"{len(self._row)} slices in a row were lost for one reason, which may be the "
            f"machine's: {self._reason}. The same command goes on when it is mended"
        )
