"""Six times as many synthetic chests to train on: lidc-style-50-small with 3,000 images.

tomolearn simulate --task examples/training/more_chests.py:TASK --pairs 3000 --out pairs.h5
"""

import dataclasses

import tomolearn as tl

_FEW = tl.tasks.get_task("lidc-style-50-small")
TASK = dataclasses.replace(
    _FEW,
    splits={**_FEW.splits, "train": dataclasses.replace(_FEW.splits["train"], size=3000)},
)
