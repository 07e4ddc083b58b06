"""From a folder of DICOM to a folder of DICOM: two batches of a synthetic patient, and a figure."""

import sys
from pathlib import Path

import numpy as np

from data_sim import write_lidc
from tomolearn.batch import BatchSettings, SimulatedScan, run_batch
from tomolearn.dicom import find_series
from tomolearn.evaluation.figures import draw_images


def main(figure: str = "dicom_folder.png") -> None:
    write_lidc("patients", 2, 4, shape=(256, 256), resume=True)
    scan = SimulatedScan("fan", views=300, photons=10_000)
    settings = {
        "FBP, Hann": BatchSettings("fbp", {"filter": "hann"}, scan),
        "TV": BatchSettings("tv", {"iterations": 150}, scan),
    }
    patient = find_series("patients").series[0]
    middle = len(patient) // 2
    images = {"LIDC-style slice": patient.read(middle).hounsfield}
    notes = {}
    for name, what in settings.items():
        report = run_batch("patients", "results", what)
        record = next(r for r in report.records if r["series"] == patient.uid)
        notes[name] = "RMSE {rmse_hu:.1f} HU, SSIM {ssim:.3f}".format(**record["agreement"])
        (made,) = find_series(Path("results") / record["output"]).series
        if not np.allclose(made.affine, patient.affine):
            sys.exit("the derived series lies elsewhere than its source")
        images[name] = made.read(middle).hounsfield
    drawn = draw_images(
        images,
        window=(-1000.0, 400.0),
        unit="HU",
        reference="LIDC-style slice",
        difference_window=(-200.0, 200.0),
        notes=notes,
        caption="fan beam, 300 views\n10,000 photons",
    )
    drawn.savefig(figure, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
