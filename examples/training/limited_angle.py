"""Synthetic chests with 34 views over 120 degrees: lidc-style-50-small with a limited angle.

tomolearn train --config examples/training/ar-chest.toml --out runs/ar-120 \\
        --task examples/training/limited_angle.py:TASK
"""

import dataclasses
import math

import tomolearn as tl

_SPARSE = tl.tasks.get_task("lidc-style-50-small")
_SCAN = tl.ParallelBeam(
    n_angles=34,
    angular_range=math.radians(120),
    n_detectors=_SPARSE.scan.n_detectors,
    detector_spacing=_SPARSE.scan.detector_spacing,
)
TASK = dataclasses.replace(
    _SPARSE,
    name="lidc-style-120-small",
    description="limited angle of synthetic chests: 64 x 64, 34 views over 120 degrees, 10,000 "
    "photons",
    acquisition=dataclasses.replace(_SPARSE.acquisition, scan=_SCAN),
)
