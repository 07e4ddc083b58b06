"""Errors of methods over doses, on the CT series of a folder, by `tomolearn dicom`.

python examples/training/compare_doses.py FOLDER [--include PATTERN] [--photons 1000 10000 100000]
        [--figure doses.png]

Prints a table in Markdown: root mean square errors against the source within the body in HU, and
SSIM, means over series. A dash stands for no noise. The figure has the middle one of the slices at
the middle one of the doses, and below it the errors.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tomolearn.dicom import SeriesFilter, find_series, read_slice
from tomolearn.evaluation.figures import draw_images

SCALE = "image_scale=12.291266"  # the unit of the networks' training, of attenuation in 1/mm
METHODS = {
    "FBP": "--method fbp",
    "FBP, Hann": "--method fbp --filter hann",
    "TV": "--method tv",
    "`denoise-chest`": "--method denoise-chest",
    "`lpd-chest`": "--method lpd-chest",
    "both networks": f"--method ensemble --members [denoise-chest({SCALE}),lpd-chest({SCALE})]",
}
arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("folder")
arguments.add_argument("--include", default="*", help="which files, a pattern")
arguments.add_argument("--photons", nargs="+", default=["1000", "10000", "100000"])
arguments.add_argument("--views", default="1000")
arguments.add_argument("--figure", type=Path, help="picture of a slice")
given = arguments.parse_args()


def middle(folder: str | Path, *patterns: str) -> np.ndarray:
    """Return the middle slice of the first series in a folder, in HU."""
    found = find_series(folder, select=SeriesFilter(include=patterns)).series[0].slices
    return read_slice(found[len(found) // 2].path).hounsfield


def errors(name: str, photons: str) -> str:
    """Return error and similarity of a batch; keep an image for the figure."""
    noise = [] if photons == "-" else ["--photons", photons]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "tomolearn", "dicom", given.folder, out, "--json"]
        chosen = ["--include", given.include, "--views", given.views, *noise]
        run = subprocess.run(
            [*command, *chosen, *shlex.split(METHODS[name])], stdout=subprocess.PIPE, check=True
        )
        if photons == given.photons[len(given.photons) // 2]:
            shown[name.strip("`")] = middle(out)
    found = [one["agreement"] for one in json.loads(run.stdout)["series"]]
    rmse, ssim = (sum(one[name] for one in found) / len(found) for name in ("rmse_hu", "ssim"))
    return f"{rmse:.1f}, {ssim:.3f}"


shown = {"source": middle(given.folder, given.include)}
print("| photons |", *(f"{name} |" for name in METHODS))
print("|---:|", *("---:|" for _ in METHODS))
for photons in given.photons:
    print(f"| {photons} |", *(f"{errors(name, photons)} |" for name in METHODS), flush=True)
if given.figure is not None:
    del shown["FBP"]
    figure = draw_images(
        shown,
        unit="HU",
        window=(-160, 240),
        reference="source",
        difference_window=(-100, 100),
    )
    figure.savefig(given.figure, dpi=110)
