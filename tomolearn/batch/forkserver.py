"""Fork server of a batch: the process that workers on this machine are copies of."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import threading
from multiprocessing import forkserver

# By name: this is for those who want it to be started before they load anything themselves.
_LOADED = ["tomolearn.batch.process_executor", "tomolearn.batch.preload"]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# The process is spoken to by a socket in a private folder among the temporary files; the name of a
# socket has at most 103 bytes, of which some 35 are not the folder's.
_LONGEST_FOLDER = 60
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


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
    folder = tempfile.tempdir
    try:
        if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER:
            tempfile.tempdir = _short_folder()
        forkserver.ensure_running()
    finally:
        tempfile.tempdir = folder
        if is_main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _short_folder() -> str:
    for folder in _SHORT_FOLDERS:
        if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    long = tempfile.gettempdir()
    raise OSError(
        errno.ENAMETOOLONG,
        f"expected a folder for temporary files (TMPDIR) of at most {_LONGEST_FOLDER} bytes",
        long,
    )
