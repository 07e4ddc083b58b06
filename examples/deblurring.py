"""Deblurring photographs by a learned fixed point, beside Tikhonov, total variation, plug-and-play.

The operator need not be a ray transform. The photographs are those that scikit-image ships, in
grey, cut into patches of 128 x 128; test images are whole photographs that are not seen in
training. They are blurred by a Gaussian of 2.5 pixels and get white noise.

The learned reconstruction is the fixed point of T(x) = x - eta (A^T (A x - d) + S(x)), found by
Anderson acceleration and trained without Jacobians (S. W. Fung et al., "JFB: Jacobian-free
backpropagation for implicit networks", AAAI 2022, arXiv:2103.12803). S begins as what a denoiser
takes away, which is trained first and is the denoiser of plug-and-play, too. Weights of the other
methods are the best ones for the test images.

    python deblurring.py [MINUTES [PATCHES]]     # of training and of test, by default 15 and 15
"""

import sys
import time
from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import color, data

import tomolearn as tl
from tomolearn.metrics import psnr
from tomolearn.models import DEGradient
from tomolearn.operators import GaussianBlur

TRAINING = ("chelsea", "rocket", "moon", "coins", "brick", "grass", "gravel", "motorcycle")
TEST = ("camera", "coffee", "astronaut")
SIGMA, NOISE, SIDE = 2.5, 0.06, 128
# Training sees parts of the patches, which are faster, and batches as long as one core likes.
PART, BATCH = 64, 4
A = GaussianBlur((SIDE, SIDE), SIGMA)


def photograph(name: str) -> np.ndarray:
    """Return an image that is part of scikit-image's wheel, in grey, with values in [0, 1]."""
    image = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    return color.rgb2gray(image) if image.ndim == 3 else image / 255.0


def patches(names: tuple[str, ...]) -> torch.Tensor:
    """Return what fits into the photographs side by side, (patches, 1, rows, columns)."""
    cut = [
        image[i : i + SIDE, j : j + SIDE]
        for image in map(photograph, names)
        for i in range(0, image.shape[0] - SIDE + 1, SIDE)
        for j in range(0, image.shape[1] - SIDE + 1, SIDE)
    ]
    return torch.from_numpy(np.stack(cut)[:, None]).float()


def blurred(image: torch.Tensor, operator: GaussianBlur, rng: torch.Generator) -> torch.Tensor:
    """Return the data of images."""
    return operator(image) + NOISE * torch.randn(image.shape, generator=rng)


def parts(images: torch.Tensor, minutes: float, rng: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield batches of random parts, mirrored and turned, until the time is over."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        batch = []
        for k in torch.randint(len(images), (BATCH,), generator=rng).tolist():
            i, j = torch.randint(SIDE - PART + 1, (2,), generator=rng).tolist()
            turns, mirrored = torch.randint(4, (2,), generator=rng).tolist()
            part = images[k, :, i : i + PART, j : j + PART].rot90(turns, (1, 2))
            batch.append(part.flip(2) if mirrored % 2 else part)
        yield torch.stack(batch)


def loss(images: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    return (images - truths).square().mean()


def minimise(
    value: Callable[[torch.Tensor], torch.Tensor],
    weights: Iterator[torch.nn.Parameter],
    batches: Iterator[torch.Tensor],
    name: str,
) -> None:
    """Train by Adam, and say now and then how small the loss is."""
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    recent: list[float] = []
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        found = value(batch)
        found.backward()
        optimizer.step()
        recent.append(found.item())
        if step % 100 == 0:
            print(f"{name}: step {step}, loss {np.mean(recent[-100:]):.3e}", flush=True)


def trained(minutes: float) -> tuple[DEGradient, DEGradient]:
    """Return the network after training as a denoiser, and after training for deblurring."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(1)
    images = patches(TRAINING)
    small = GaussianBlur((PART, PART), SIGMA)
    settings = {
        "depth": 6,
        "channels": 32,
        "bias": True,
        "lipschitz": 5.0,
        "weight": 0.1,
        "tolerance": 1e-3,
        "max_iterations": 50,
        "backward": "jfb",
    }
    model, denoising = DEGradient(**settings), DEGradient(**settings)

    def denoise(batch: torch.Tensor) -> torch.Tensor:
        levels = 0.01 + 0.09 * torch.rand((len(batch), 1, 1, 1), generator=rng)
        noisy = batch + levels * torch.randn(batch.shape, generator=rng)
        return loss(model.denoiser()(noisy), batch)

    def deblur(batch: torch.Tensor) -> torch.Tensor:
        return loss(model(blurred(batch, small, rng), small), batch)

    minimise(denoise, model.parameters(), parts(images, minutes / 4, rng), "denoising")
    denoising.load_state_dict(model.state_dict())
    minimise(deblur, model.parameters(), parts(images, 3 * minutes / 4, rng), "deblurring")
    return denoising.eval(), model.eval()


def plug_and_play(y: torch.Tensor, denoising: DEGradient, step: float) -> torch.Tensor:
    """Return what alternating gradient steps and the denoiser come to."""
    denoiser, image = denoising.denoiser(), y
    for _ in range(20):
        image = denoiser(image + step * A.adjoint(y - A(image)))
    return image


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    denoising, model = trained(minutes)
    truths = patches(TEST)[::3][:count]
    y = blurred(truths, A, torch.Generator().manual_seed(2))

    def decibels(images: torch.Tensor) -> float:
        pairs = zip(images.detach(), truths, strict=True)
        return float(np.mean([psnr(x, truth, data_range=1.0).mean() for x, truth in pairs]))

    differences = tl.FiniteDifferences((SIDE, SIDE))
    candidates: dict[str, list[tuple[float, Callable[[float], torch.Tensor]]]] = {
        "Tikhonov": [
            (w, lambda w: tl.tikhonov(y, A, weight=w, regularizer=differences))
            for w in (0.1, 0.2, 0.5, 1.0, 2.0)
        ],
        "total variation": [
            (w, lambda w: tl.total_variation(y, A, weight=w, iterations=200))
            for w in (0.01, 0.02, 0.04, 0.08, 0.16)
        ],
        "plug-and-play": [(w, lambda w: plug_and_play(y, denoising, w)) for w in (0.5, 1.0)],
    }
    rows = {"blurred": ("", y)}
    with torch.no_grad():
        for name, choices in candidates.items():
            images = [(weight, method(weight)) for weight, method in choices]
            weight, best = max(images, key=lambda pair: decibels(pair[1]))
            rows[name] = (f"{weight:g}", best)
        rows["learned fixed point"] = ("", model(y, A))
    print(f"{'method':20} {'weight':>7} {'PSNR':>6}   gain")
    for name, (weight, images) in rows.items():
        found = decibels(images)
        print(f"{name:20} {weight:>7} {found:6.2f} {found - decibels(y):+6.2f}")
    print(f"{model.diagnostics['iterations']:.0f} iterations, step {model.step:.3f}")

    shown = [k for k in (2, 7, 13) if k < count]
    figure, axes = plt.subplots(
        len(shown), len(rows) + 1, squeeze=False, figsize=(14, 7.4), layout="constrained"
    )
    for k, line in zip(shown, axes, strict=True):
        pictures = {"truth": truths, **{name: images for name, (_, images) in rows.items()}}
        for axis, (name, images) in zip(line, pictures.items(), strict=True):
            axis.imshow(images[k, 0].detach(), cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
            if name == "truth":
                axis.set_title(name, fontsize=10)
            else:
                value = psnr(images[k].detach(), truths[k], data_range=1.0).mean()
                axis.set_title(f"{name}\n{value:.2f} dB", fontsize=10)
    figure.savefig("deblurring.png", dpi=100)


if __name__ == "__main__":
    main()
