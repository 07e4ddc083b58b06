"""Processes that only compute keep the memory of arrays that they have freed."""

import ctypes
import subprocess
import sys

import pytest

_COUNT = """
import resource
import numpy as np
from tomolearn._core.memory import keep_freed

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        some = [np.ones(3 * 2**20, np.uint8) for _ in range(8)]
        del some
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed()
faults(2)
print(faults(10))
"""


def test_freed_arrays_are_not_cleared_anew() -> None:
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("only glibc can be told")
    found = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True
    )
    # eighty arrays of 768 pages each
    assert int(found.stdout) < 768
