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
print(f"| delta | alpha = {found.alpha:.2g} | alpha = {found.constant:g} delta | from the truth |")
print("|---:|---:|---:|---:|")
for delta, *distances in zip(found.deltas, found.fixed, found.chosen, found.errors, strict=True):
    print(f"| {delta:g} | {' | '.join(f'{one:.3f}' for one in distances)} |")
print(f"\nall solved to the tolerance: {'yes' if found.converged else 'no'}")
found.draw().savefig("equilibrium_study.png")
