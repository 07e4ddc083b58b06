"""The ray transform is a torch layer: gradients flow through it and through whole networks."""

import torch
from torch import nn

import tomolearn as tl
from data_sim import shepp_logan

grid = tl.Grid(shape=(64, 64), spacing=2.0)
A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 40))
truth = torch.from_numpy(shepp_logan(grid.shape, oversampling=4))[None, None]
y = A(truth)

# Any loss of the sinogram can be minimised over the image by an optimiser of torch.
x = torch.zeros_like(truth, requires_grad=True)
optimizer = torch.optim.Adam([x], lr=0.02)
for step in range(101):
    optimizer.zero_grad()
    loss = (A(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        print(f"step {step:3d}: misfit {loss.item():.3e}")

# As a layer in the middle of a network: from a sinogram to a filtered one, back, and cleaned up.
network = nn.Sequential(
    nn.Conv2d(1, 1, kernel_size=(1, 31), padding=(0, 15)), A.T, nn.Conv2d(1, 1, 3, padding=1)
)
(network(y) - truth).square().mean().backward()
print(f"gradient of the filter in front of A.T: {network[0].weight.grad.norm():.3g}")
