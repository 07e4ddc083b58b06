"""Entry point of a worker, which loads torch when it is called."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from tomolearn.batch.chunks import Chunk
from tomolearn.catalogue import WeightsChangedError


@dataclass(frozen=True)
class Outcome:
    """Outcome of a chunk: data only, since not every exception survives the way back.

    Without a record and an error, the chunk's worker died.

    Parameters
    ----------
    record : dict, optional
        The record of the chunk, if it came to its end.
    fatal : Exception, optional
        Why the whole run cannot go on.
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
        return Outcome(fatal=OSError(error.errno, error.strerror or str(error), error.filename))
    except (ImportError, WeightsChangedError) as error:
        return Outcome(fatal=type(error)(str(error)))
    # A bug costs these slices only: the next ones may be better. The run's result tells of it.
    except Exception:
        found = traceback.format_exc(limit=-5)
        return Outcome(chunk.lost(f"unexpected error, please report it: {found}"))
