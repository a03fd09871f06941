"""--gpu_kernel: which GPU's kernels a run's programs take, and what cannot be."""

import pytest

from configs.errors import UserError
from configs.experiment import build_config
from dvae.runs import gpu_kernel
from samplers import hardware

H100, T4 = hardware.Gpu((9, 0), 232_448), hardware.Gpu((7, 5), 65_536)
SMALL = hardware.Gpu((8, 6), 101_376)


def taken(monkeypatch, setting, gpu, **fields):
    """The GPU whose kernels programs take within."""
    monkeypatch.setattr(hardware, "found_gpu", lambda: gpu)
    config = build_config(**{"struct": "1-layer-nonlin", "dataset": "digits"} | fields)
    with hardware.use("gpu"), gpu_kernel.taken(setting, config):
        found = hardware.kernel_gpu()
    assert hardware.kernel_gpu() is None
    return found


def test_off_takes_none_and_auto_what_there_is(monkeypatch):
    assert taken(monkeypatch, "off", H100) is None
    assert taken(monkeypatch, "auto", None) is None
    for gpu in (H100, T4):  # where each program looks whether its kernels fit
        assert taken(monkeypatch, "auto", gpu) == gpu
    assert taken(monkeypatch, "auto", H100, num_chains=1001) == H100


@pytest.mark.parametrize("sampler", ["pa", "pcd", "pt"])
def test_on_takes_what_can_sweep_the_chains(sampler, monkeypatch):
    assert taken(monkeypatch, "on", H100, sampler=sampler) == H100


@pytest.mark.parametrize(
    "gpu, fields, words",
    [
        (None, {}, "no driver of NVIDIA tells of a GPU here"),
        (T4, {}, r"100 units, too many .* \(compute capability 7.5, 65536 bytes"),
        (SMALL, {"num_latents": 400}, "a half of the prior has 200 units"),
        (H100, {"num_latents": 514}, "a half of the prior has 257 units"),
        (H100, {"num_chains": 1001}, "num_chains=1001 is no multiple of 8"),
        (H100, {"prior": "complete", "num_latents": 20}, "the prior is no RBM, but Boltzmann"),
    ],
    ids=["no GPU", "old GPU", "small GPU", "large prior", "chains", "graph"],
)
def test_on_says_why_it_cannot_be(gpu, fields, words, monkeypatch):
    with pytest.raises(UserError, match=f"gpu_kernel=on cannot be done: .*{words}") as caught:
        taken(monkeypatch, "on", gpu, **fields)
    assert "\n" not in str(caught.value)
