"""Whether a run's programs take the kernels of `samplers.gpu_kernels`: the setting and the GPU."""

import contextlib

from configs.errors import UserError, name_of
from configs.experiment import ExperimentConfig
from dvae.priors import energy_model
from samplers import hardware
from samplers.gpu_kernels import sweeps
from samplers.rbm import RBM


def obstacle(config: ExperimentConfig, gpu: hardware.Gpu | None) -> str | None:
    """Why the chains of a training run are not swept by a kernel of this GPU; None: they are.

    Of programs that are laid out for a GPU.
    """
    if gpu is None:
        return "no driver of NVIDIA tells of a GPU here"
    model = energy_model(config.structure)
    if not isinstance(model, RBM):
        return f"the prior is no RBM, but {model}"
    units = max(model.num_left, model.num_right)
    with hardware.use_kernels(gpu):
        if sweeps.holds(units, config.num_chains, 2):
            return None
        if sweeps.holds(units, 8, 2):
            return f"{name_of('num_chains')}={config.num_chains} is no multiple of 8"
    capability, memory = ".".join(map(str, gpu.compute_capability)), gpu.shared_memory
    return (
        f"a half of the prior has {units} units, too many for this GPU (compute capability "
        f"{capability}, {memory} bytes of shared memory)"
    )


def taken(setting: str, config: ExperimentConfig) -> contextlib.ExitStack:
    """`hardware.use_kernels` as --gpu_kernel says.

    Raises:
      UserError: it says "on", and the sweeps of the run's training cannot be a kernel here.
    """
    gpu = None if setting == "off" else hardware.found_gpu()
    if setting == "on" and (why := obstacle(config, gpu)):
        raise UserError(f"{name_of('gpu_kernel')}=on cannot be done: {why}")
    return hardware.use_kernels(gpu)
