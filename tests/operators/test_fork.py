"""Processes that are forked while other threads of theirs use operators."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import torch
from builders import PLANE

from tomolearn.operators import RayTransform

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work):
    """Return the exit status of a forked process: 0 if the work was done."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


@contextmanager
def held_by_another_thread(lock, seconds=None):
    """Let a thread hold a lock, to the end of the block or for some seconds."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    yield
    done.set()
    thread.join()


def transform():
    A = RayTransform(*PLANE["parallel_even"])
    A.T(A(torch.zeros(A.domain_shape)))
    return A


def locks_of(operator):
    parts = [*vars(operator).items(), *vars(operator.backend_on("cpu")).items()]
    return [part for name, part in parts if name in ("_lock", "_making")]


@pytest.mark.parametrize("backend", ["joseph", "astra"])
def test_locks_of_operators_are_free_in_a_new_process(backend):
    A = RayTransform(*PLANE["parallel_even"], backend=backend)
    expected = A(torch.ones(A.domain_shape))

    def use():
        A.backend_on("cpu")
        assert torch.equal(A(torch.ones(A.domain_shape)), expected)
        A.T(expected)

    locks = locks_of(A)
    assert locks
    for lock in locks:
        with held_by_another_thread(lock):
            assert in_child(use) == 0


def test_a_table_that_another_thread_makes_is_made_again(monkeypatch):
    from tomolearn.operators.backends.joseph import backend

    parent, made = os.getpid(), backend.ray_tables
    begun, go_on = threading.Event(), threading.Event()

    def slowly(grid, scan):
        if os.getpid() == parent:
            begun.set()
            go_on.wait()
        return made(grid, scan)

    monkeypatch.setattr(backend, "ray_tables", slowly)
    A = RayTransform(*PLANE["parallel_even"])
    thread = threading.Thread(target=lambda: A(torch.zeros(A.domain_shape)))
    thread.start()
    begun.wait()
    assert in_child(lambda: A(torch.zeros(A.domain_shape))) == 0
    go_on.set()
    thread.join()


def test_a_fork_waits_for_a_compilation():
    from numba.core.compiler_lock import global_compiler_lock

    transform()  # the lock is known from then on

    def compile_again():
        with global_compiler_lock:
            transform()

    with held_by_another_thread(global_compiler_lock, seconds=0.2):
        assert in_child(compile_again) == 0


STRESS = """
import os, random, signal, sys, threading, torch
import tomolearn as tl
torch.set_num_threads(1)
grid = tl.Grid((16, 16))
scan = tl.ParallelBeam.covering(grid, 7)
A = tl.RayTransform(grid, scan)

def use(operator, rng):
    x = torch.ones(rng.randint(1, 3), 16, 16, dtype=rng.choice([torch.float32, torch.float64]))
    y = operator(x)
    operator.T(y)
    tl.fbp(y, operator)

def always(seed):
    rng = random.Random(seed)
    while True:
        use(rng.choice([A, tl.RayTransform(grid, scan)]), rng)

# Python itself does not free the locks of modules that another thread imports meanwhile
use(A, random.Random(9))
for seed in range(2):
    threading.Thread(target=always, args=(seed,), daemon=True).start()
sys.setswitchinterval(1e-6)
rng = random.Random(9)
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        use(A, rng)
        use(tl.RayTransform(grid, scan), rng)
        os._exit(0)
    children.append(child)
sys.setswitchinterval(0.005)
results = [os.waitpid(child, 0)[1] for child in children]
print(results)
os._exit(any(results))
"""


@pytest.mark.slow
def test_children_of_a_busy_process_do_not_hang():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STRESS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
