"""Deep image prior beside total variation: PSNR and processor time by iteration.

python examples/deep_image_prior.py [iterations] [weight of the total variation] [seed]
"""

import sys
import time

import tomolearn as tl
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

given = dict(enumerate(sys.argv[1:]))
iterations, weight, seed = int(given.get(0, 3000)), float(given.get(1, 2.5)), int(given.get(2, 0))

task = get_task("ellipses")
A = task.operator()
y, x = task.pairs("test")[0]
start = time.process_time()


def shown(state):
    """Print a row."""
    quality = float(psnr(state.image[0], x[0], data_range=1.0))
    row = f"{state.iteration:6d} {quality:8.2f} dB {time.process_time() - start:8.0f} s"
    print(f"{row}   residual {float(state.residual):.1f}", flush=True)


shown.every = 250
print(f"noise {float((A(x) - y).norm()):.1f}; deep image prior, weight {weight}, seed {seed}")
tl.dip(y, A, iterations=iterations, weight=weight, seed=seed, callback=shown)
start = time.process_time()
image = tl.total_variation(y, A, weight=2.5)
quality = float(psnr(image[0], x[0], data_range=1.0))
print(f"total variation: {quality:.2f} dB, {time.process_time() - start:.1f} s")
