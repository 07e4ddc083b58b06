"""Fork server of a batch: the process that workers on this machine are copies of."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import forkserver

# By name: this is for those who want it to be started before they load anything themselves.
_LOADED = ["tomolearn.batch.process_executor", "tomolearn.batch.preload"]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def prepare_workers() -> None:
    """Start the process that workers on this machine are copies of, and do not wait for it.

    It loads what they need, so that they start at once, also those that replace dead ones. Nothing
    happens if it is there already.
    """
    forkserver.set_forkserver_preload(_LOADED)
    # Libraries choose their number of threads when they are loaded; every core has its worker.
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    # Ctrl-C is for the run, which ends its workers itself.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        forkserver.ensure_running()
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
