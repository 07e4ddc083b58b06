"""Entry point of a worker, which loads torch when it is called."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from tomolearn.batch.chunks import Chunk, fault_of
from tomolearn.catalogue import WeightsChangedError


@dataclass(frozen=True)
class Outcome:
    """Outcome of a chunk: its record, or the error for which the whole run cannot go on.

    Data only, since not every exception survives the way back. With neither, the worker died.
    """

    record: dict[str, Any] | None = None
    fatal: Exception | None = None


def run_on_worker(chunk: Chunk) -> Outcome:
    """Run a chunk; return its record, or the error that ends the run."""
    # those who give chunks to workers need not load what these work with
    from tomolearn.batch.work import run_chunk

    try:
        return Outcome(run_chunk(chunk))
    except OSError as error:
        if error.errno is None:
            return Outcome(fatal=OSError(str(error)))
        return Outcome(fatal=OSError(error.errno, error.strerror or str(error), error.filename))
    except (ImportError, WeightsChangedError) as error:
        return Outcome(fatal=type(error)(str(error)))
    # A bug costs these slices only: the next ones may be better. The run's result tells of it.
    except Exception as error:
        found = traceback.format_exc(limit=-5)
        reason = f"unexpected error, please report it: {found}"
        return Outcome(chunk.lost(reason, fault_of(error)))
