"""Equilibria of degrad-ellipses on Shepp-Logan as the noise falls: equilibrium_study.png."""

import tomolearn as tl
from tomolearn.tasks import get_task

task = get_task("ellipses")
found = tl.evaluation.equilibrium_study(
    tl.load("degrad-ellipses"),
    task.pairs("test")[0][1],
    task.operator(),
    (0.1, 0.05, 0.025),
    constant=0.3,
    tolerance=1e-3,
    max_iterations=100,
)
print(found.to_dict())
found.draw().savefig("equilibrium_study.png")
