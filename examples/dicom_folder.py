"""From a folder of DICOM to a folder of DICOM: two batches of a synthetic patient, and a figure."""

import sys
from pathlib import Path

import numpy as np

from data_sim import write_lidc
from tomolearn.batch import BatchSettings, batch_method, run_batch
from tomolearn.dicom import find_series
from tomolearn.evaluation.figures import draw_images
from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement


def main(figure: str = "dicom_folder.png") -> None:
    write_lidc("patients", 2, 4, shape=(256, 256), resume=True)
    low_dose = Acquisition(
        CoveringScan("fan", views=300), PhotonNoise(10_000), Refinement("constant", 2)
    )
    settings = {
        "FBP, Hann": BatchSettings(batch_method("fbp", filter="hann"), low_dose),
        "TV": BatchSettings(batch_method("tv", iterations=150), low_dose),
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
