"""Entry point of a worker: run a chunk, and send back data whatever happens. No torch yet."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from tomolearn.batch.chunks import Chunk, WeightsChangedError

__all__ = ["Outcome", "run_on_worker"]


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: data only, since not every exception survives the way.

    Parameters
    ----------
    record : dict, optional
        The record of the chunk, if it came to its end.
    fatal : Exception, optional
        Why the whole run cannot go on.
    unexpected : str
        The traceback of any other error: a bug, which costs these slices only.
    """

    record: dict[str, Any] | None = None
    fatal: Exception | None = None
    unexpected: str = ""


def run_on_worker(chunk: Chunk) -> Outcome:
    """Run a chunk; return its record or its error."""
    # the workers' part: those who give them chunks need not load it
    from tomolearn.batch.work import run_chunk

    try:
        return Outcome(run_chunk(chunk))
    except OSError as error:
        return Outcome(fatal=OSError(error.errno, error.strerror or str(error), error.filename))
    except (ImportError, WeightsChangedError) as error:
        return Outcome(fatal=type(error)(str(error)))
    # The next file may be a better one. The run's result says that there was a bug.
    except Exception:
        return Outcome(unexpected=traceback.format_exc(limit=-5))
