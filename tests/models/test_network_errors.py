"""What networks refuse, and the table of their names."""

import pytest
import torch
from networks import SMALL, small_network

from tomolearn import ConeBeam, Grid, ParallelBeam, RayTransform
from tomolearn.models import (
    MODELS,
    FBPUNet,
    LearnedGradient,
    LearnedPDHG,
    LearnedPrimal,
    LearnedPrimalDual,
    LearnedProximal,
    ReconstructionModel,
    VariationalNetwork,
    build_model,
)
from tomolearn.operators import ScaledOperator

GRID = Grid((12, 12))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
SHAPE = RAYS.range_shape
MODEL = small_network("learned-primal-dual")


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize(
    ("sinogram", "error", "message"),
    [
        (torch.zeros(1, 1, 7, 12), ValueError, r"sinogram: expected shape \(\.\.\., 7, \d+\), got"),
        (torch.zeros(7), ValueError, "sinogram: expected shape"),
        (torch.zeros(SHAPE, dtype=torch.int32), TypeError, "sinogram: expected a real floating"),
        (torch.zeros(SHAPE, dtype=torch.complex64), TypeError, "sinogram: expected a real float"),
        (torch.full(SHAPE, torch.nan), ValueError, "sinogram: expected finite values, got .* not"),
        ([[0.0]], TypeError, "sinogram: expected a torch.Tensor, got list"),
    ],
    ids=["bins", "vector", "integers", "complex", "nan", "list"],
)
def test_sinogram(case, sinogram, error, message):
    with pytest.raises(error, match=message):
        small_network(case)(sinogram, RAYS)


def test_sinogram_on_another_device():
    # weights elsewhere: a device without values is enough, as the check comes before all else
    with pytest.raises(ValueError, match=r"sinogram: expected it on .* meta, got cpu"):
        small_network("learned-pdhg").to("meta")(torch.zeros(SHAPE), RAYS)


def test_weights_in_half_precision():
    model = small_network("learned-pdhg").to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"expected weights in float32 .* torch\.autocast"):
        model(torch.zeros(SHAPE), RAYS)


def test_operator():
    y = torch.zeros(SHAPE)
    with pytest.raises(TypeError, match="operator: expected a LinearOperator, got Grid"):
        MODEL(y, GRID)
    cone = RayTransform(Grid((4, 5, 6)), ConeBeam(6, (8, 12), 1.5, 40.0, 70.0))
    with pytest.raises(ValueError, match=r"got \(4, 5, 6\) -> .*; LearnedPrimalDual has ndim=2"):
        MODEL(torch.zeros(cone.range_shape), cone)
    with pytest.raises(ValueError, match=r"got \(4, 5, 6\) -> .*; FBPUNet has ndim=2"):
        small_network("fbp-unet")(torch.zeros(cone.range_shape), cone)
    with pytest.raises(ValueError, match="operator: expected one that is not zero"):
        MODEL(y, ScaledOperator(RAYS, 0.0))


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (LearnedPrimalDual, {"iterations": 0}, ValueError, "iterations: expected an integer >= 1"),
        (LearnedPrimalDual, {"n_primal": 1}, ValueError, "n_primal: expected an integer >= 2"),
        (LearnedPrimalDual, {"n_dual": 1.0}, TypeError, "n_dual: expected an integer"),
        (LearnedPrimalDual, {"channels": True}, TypeError, "channels: expected an integer"),
        (LearnedPrimal, {"n_primal": 1}, ValueError, "n_primal: expected an integer >= 2"),
        (LearnedPrimal, {"ndim": 1}, ValueError, "ndim: expected an integer >= 2, got 1"),
        (LearnedPrimal, {"ndim": 4}, ValueError, "ndim: expected 2 or 3, got 4"),
        (LearnedPDHG, {"channels": 0}, ValueError, "channels: expected an integer >= 1"),
        (LearnedProximal, {"iterations": -1}, ValueError, "iterations: expected an integer >= 1"),
        (LearnedGradient, {"memory": 0}, ValueError, "memory: expected an integer >= 1"),
        (FBPUNet, {"channels": 64}, TypeError, "channels: expected a sequence of integers, got 64"),
        (FBPUNet, {"channels": ()}, ValueError, "channels: expected at least one scale"),
        (FBPUNet, {"channels": (8, 0)}, ValueError, r"channels\[1\]: expected an integer >= 1"),
        (FBPUNet, {"skip_channels": -1}, ValueError, "skip_channels: expected an integer >= 0"),
        (FBPUNet, {"first_convolutions": 0}, ValueError, "first_convolutions: expected"),
        (FBPUNet, {"normalisation": "layer"}, ValueError, "normalisation: expected one of batch"),
        (FBPUNet, {"negative_slope": -0.1}, ValueError, "negative_slope: expected a non-negative"),
        (FBPUNet, {"down": "mean"}, ValueError, "down: expected one of max-pool, strided"),
        (FBPUNet, {"up": "nearest"}, ValueError, "up: expected one of transposed, bilinear"),
        (FBPUNet, {"residual": 1}, TypeError, "residual: expected a bool"),
        (FBPUNet, {"filter": "ramp"}, ValueError, "filter: expected one of ram-lak"),
        (FBPUNet, {"frequency_scaling": 1.5}, ValueError, r"frequency_scaling: .* \(0, 1\]"),
        (FBPUNet, {"oversampling": 0}, ValueError, "oversampling: expected an integer >= 1"),
        (VariationalNetwork, {"stages": 0}, ValueError, "stages: expected an integer >= 1"),
        (VariationalNetwork, {"filter_size": 4}, ValueError, "filter_size: expected an odd"),
        (VariationalNetwork, {"gaussians": 1}, ValueError, "gaussians: expected an integer >= 2"),
        (
            VariationalNetwork,
            {"activation_range": 0},
            ValueError,
            "activation_range: expected",
        ),
        (VariationalNetwork, {"start": "zero"}, ValueError, "start: expected one of fbp, adjoint"),
    ],
)
def test_arguments(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model(**arguments)


def test_arguments_are_read_only():
    with pytest.raises(TypeError, match="does not support item assignment"):
        MODEL.arguments["iterations"] = 4


def test_names_that_files_of_weights_have():
    assert set(MODELS) >= {
        "fbp-unet",
        "learned-gradient",
        "learned-proximal",
        "learned-primal",
        "learned-primal-dual",
        "learned-pdhg",
        "variational-network",
        "de-gradient",
        "de-proximal",
        "equivariant-proximal",
    }
    for case, (name, _) in SMALL.items():
        assert MODELS.spec_of(type(small_network(case))) == name


def test_unknown_network_or_argument():
    with pytest.raises(ValueError, match=r"model: .* did you mean learned-primal-dual\b"):
        build_model("Learned-Primal_Dual", {})
    with pytest.raises(TypeError, match="model: expected a name, got None"):
        build_model(None, {})
    with pytest.raises(ValueError, match=r"got 'iteration'; did you mean iterations\?"):
        build_model("learned-pdhg", {"iteration": 3})
    with pytest.raises(TypeError, match="arguments: expected a mapping, got list"):
        build_model("learned-pdhg", [3])


def test_what_is_no_network():
    with pytest.raises(ValueError, match=r"model math:pi: expected a subclass of .*, got 3\.14"):
        build_model("math:pi", {})


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        ReconstructionModel({})
