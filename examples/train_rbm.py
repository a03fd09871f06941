"""Examples:

    python examples/train_rbm.py --dataset=digits --num_hidden=100 --minutes=1
    python examples/train_rbm.py --data_dir=datasets --minutes=30

Trains a plain RBM on images with nothing but `samplers/` and an optimizer.

Maximum likelihood: the positive phase is exact (the hidden half is summed out), the negative phase
comes from PCD or population annealing. Prints the test log-likelihood with its interval, and writes
a picture of the chains. The literature's reference for 500 hidden units and CD25 is Salakhutdinov
and Murray 2008; their binarisation differs from the fixed one, so the numbers are near, not equal.
The training itself is in rbm_training.py beside this file.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs import command_line
from configs.setting import MIN_FLOAT, Setting

_COUNT = dict(kind=int, known_by=(), least=1, most=10**6)
_POSITIVE = dict(kind=float, known_by=(), least=MIN_FLOAT, most=1e6)
SETTINGS = (
    Setting("dataset", "binarized_mnist", "as for run.py", str, ()),
    Setting("data_dir", None, "as for run.py", Path, ()),
    Setting(
        "sampler", "pcd", "sampler of the negative phase", str, (), choices=("pcd", "annealing")
    ),
    Setting("num_hidden", 500, "hidden units", **_COUNT),
    Setting("minutes", 30.0, "training time", **_POSITIVE),
    Setting("base_lr", 1e-3, "learning rate of Adam; falls linearly to zero", **_POSITIVE),
    Setting("batch_size", 100, "images per step", **_COUNT),
    Setting("num_chains", 500, "chains", **_COUNT),
    Setting("num_sweeps", 5, "block-Gibbs sweeps per step", **_COUNT),
    Setting("ais_chains", 500, "chains of AIS", **_COUNT),
    Setting("ais_temperatures", 10_000, "temperatures of AIS", **_COUNT),
    Setting("seed", 0, "random seed", int, (), least=0, most=2**31 - 1),
    Setting("picture", "rbm_samples.png", "where the picture of the chains goes", Path, ()),
)
command_line.define(SETTINGS)


def main() -> int:
    """Trains for the given time, then reports; returns the exit code."""
    values = {setting.name: command_line.value(setting) for setting in SETTINGS}
    from dvae.runs.isolation import isolated

    with isolated():  # TensorFlow is imported only now: a wrong flag is said at once
        from examples.rbm_training import Options, train

        return train(Options(**values))


if __name__ == "__main__":
    command_line.start(main, __doc__, SETTINGS)
