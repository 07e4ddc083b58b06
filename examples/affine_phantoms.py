"""Total variation and total generalised variation on piecewise affine images.

Noise of a tenth of the images' range is removed with the best weight of a few. Prints the PSNR of
both priors; total variation makes staircases of ramps.
"""

import torch

from tomolearn.metrics import psnr
from tomolearn.priors import TotalGeneralisedVariation, TotalVariation

PIXELS, NOISE = 48, 0.1
WEIGHTS = (0.1, 0.2, 0.4)
TOLERANCE = 1e-2  # of proximal points

x, y = torch.meshgrid(*2 * (torch.linspace(0, 1, PIXELS, dtype=torch.float64),), indexing="ij")
phantoms = {
    "ramp": x,
    "roof": 1 - (2 * x - 1).abs(),
    "ramp with a step": torch.where(y < 0.5, x / 2, (1 + x) / 2),
    "crease and step": torch.where(y < 0.5, x, (1 + y - x) / 2),
}
generator = torch.Generator().manual_seed(0)
print(f"{'':26s}{'noisy':>8s}{'TV':>8s}{'TGV':>8s}{'gain':>8s}   dB")
for name, image in phantoms.items():
    noise = NOISE * torch.randn(image.shape, generator=generator, dtype=torch.float64)

    def quality(found, image=image):
        """Return the PSNR, of images of range one."""
        return float(psnr(found, image, data_range=1.0))

    best = [
        max(quality(prior.proximal(image + noise, weight)) for weight in WEIGHTS)
        for prior in (
            TotalVariation(tolerance=TOLERANCE),
            TotalGeneralisedVariation(tolerance=TOLERANCE),
        )
    ]
    numbers = (quality(image + noise), *best, best[1] - best[0])
    print(f"{name:26s}" + "".join(f"{number:8.1f}" for number in numbers), flush=True)
