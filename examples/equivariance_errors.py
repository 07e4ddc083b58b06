"""How far networks are from commuting with turns and flips of their input."""

import torch
from torch.nn.functional import conv2d

from tomolearn.models import EquivariantProximal
from tomolearn.models.equivariant import equivariance_errors, get_group


def smooth_images(channels, size=64, width=2.0):
    """Draw white noise that a Gaussian of this standard deviation, in pixels, has smoothed."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(channels, 1, size + 16, size + 16, generator=generator)
    x = torch.arange(-8.0, 9.0)
    filter = (-(x[:, None] ** 2 + x**2) / (2 * width**2)).exp()
    return (conv2d(noise, (filter / filter.norm())[None, None])).transpose(0, 1)


torch.manual_seed(0)
images = smooth_images(7)
for name in ("C4", "D4", "C8"):
    group = get_group(name)
    exact = [g for g in range(group.order) if group.is_exact(g)]
    turned = [g for g in range(group.order) if not group.is_exact(g)]
    for kernel_size in (3, 5):
        model = EquivariantProximal(group=name, channels=32, kernel_size=kernel_size)
        errors = equivariance_errors(model.proximals[0], group, images)
        worst = max(values[g] for values in errors.values() for g in exact)
        print(f"{name}, {kernel_size} x {kernel_size}: worst layer under quarter turns {worst:.1e}")
        if turned:
            worst = max(values[g] for values in errors.values() for g in turned)
            last = max(errors["output"][g] for g in turned)
            print(f"    under 45 degrees: worst layer {worst:.3f}, output {last:.3f}")
