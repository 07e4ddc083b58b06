"""What precision a machine trains in."""

import pytest
import torch
from small_task import only_tasks, small_task

from tomolearn.data import RandomEllipses
from tomolearn.tasks import Split
from tomolearn.training import hardware
from tomolearn.training.config import TrainingConfig
from tomolearn.training.hardware import SlowPrecisionWarning, has_bfloat16, precision_here
from tomolearn.training.run import train


def processor(monkeypatch, *flags):
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: [("flags", " ".join(("fpu", *flags)))])


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_auto_is_bfloat16_where_there_are_instructions(monkeypatch, recwarn, flag):
    processor(monkeypatch, "avx512f", flag)
    assert [precision_here(p, "cpu") for p in ("auto", "bf16-mixed")] == ["bf16-mixed"] * 2
    assert not recwarn


def test_auto_is_float32_elsewhere_and_bfloat16_is_warned_of(monkeypatch, recwarn):
    processor(monkeypatch, "avx2", "avx512f")
    assert precision_here("auto", "cpu") == precision_here("32-true", "cpu") == "32-true"
    assert not recwarn
    with pytest.warns(SlowPrecisionWarning, match='8 to 10 times .* "auto"'):
        assert precision_here("bf16-mixed", "cpu") == "bf16-mixed"


def test_this_processor_is_seen_as_torch_sees_it():
    if not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("an older torch does not tell")
    here = torch.cpu.get_capabilities()
    assert has_bfloat16("cpu") == any(here.get(n) for n in ("avx512_bf16", "amx_bf16", "bf16"))


@pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")
def test_a_run_goes_on_with_another_processor(monkeypatch, tmp_path):
    sizes = {"train": None, "validation": 2, "test": 2}
    splits = {k: Split(RandomEllipses(), seed=n, size=s) for n, (k, s) in enumerate(sizes.items())}
    only_tasks(monkeypatch, small_task(splits=splits))
    settings = {"model": "fbp-unet", "task": "small", "precision": "auto", "validation_size": 1}
    arguments = {"channels": [4, 4], "first_convolutions": 1}
    for steps, flags in ((2, ["amx_bf16"]), (4, ["avx2"])):
        processor(monkeypatch, *flags)
        config = TrainingConfig(
            **settings, model_arguments=arguments, steps=steps, accelerator="cpu", threads=1
        )
        result = train(config, tmp_path, resume=steps > 2)
    assert result.steps == 4
    assert '"precision": "32-true"' in result.weights.read_text()
