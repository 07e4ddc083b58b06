"""Errors of methods over doses, on the CT series of a folder, by `tomolearn dicom`.

python examples/training/compare_doses.py FOLDER [--include PATTERN] [--photons 1000 10000 100000]

Prints a table in Markdown: root mean square errors against the source within the body in HU, and
SSIM, means over series. A dash stands for no noise.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile

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
given = arguments.parse_args()


def errors(method: str, photons: str) -> str:
    """Return error and similarity of a batch."""
    noise = [] if photons == "-" else ["--photons", photons]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "tomolearn", "dicom", given.folder, out, "--json"]
        chosen = ["--include", given.include, "--views", given.views, *noise]
        run = subprocess.run(
            [*command, *chosen, *shlex.split(method)], stdout=subprocess.PIPE, check=True
        )
    found = [one["agreement"] for one in json.loads(run.stdout)["series"]]
    rmse, ssim = (sum(one[name] for one in found) / len(found) for name in ("rmse_hu", "ssim"))
    return f"{rmse:.1f}, {ssim:.3f}"


print("| photons |", *(f"{name} |" for name in METHODS))
print("|---:|", *("---:|" for _ in METHODS))
for photons in given.photons:
    print(f"| {photons} |", *(f"{errors(one, photons)} |" for one in METHODS.values()), flush=True)
