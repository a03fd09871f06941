"""What differences from the published method do, measured on the best model of a finished run.

python -m benchmarks.deviations --run=DIR [--name=NAME] [--data_dir=DIR]
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.records import Record
from dvae.relaxed_priors import LAMBDA_MARGIN, gram_powers, largest_singular_value
from dvae.runs.trained_model import TrainedModel
from samplers import ais, counter_random
from samplers.energy_model import EnergyModel, fitted_base, uniform_base
from samplers.rbm import RBM

_AIS_SETTINGS = {"chains": 1024, "temperatures": 1000}


class UnsummedRBM(RBM):
    """An RBM whose AIS weights hold both halves: nothing is summed out."""

    path = EnergyModel.path


def ais_weights(trained: TrainedModel) -> Record:
    """log Z, its standard error and ESS with and without the right half summed out."""
    rbm, params = trained.model.prior.energy_model, trained.model.prior.parameters()
    unsummed = UnsummedRBM(rbm.num_left, rbm.num_right)
    bases = {"uniform": uniform_base(rbm), "fitted": fitted_base(tf.constant(trained.chains))}
    found: Record = {name: {} for name in bases}
    for name, base in bases.items():
        for weights, model in (("right half summed out", rbm), ("both halves", unsummed)):
            settings = counter_random.key(1), *_AIS_SETTINGS.values()
            estimate = ais.log_partition_estimate(model, params, base, *settings)
            found[name][weights] = {field: float(v) for field, v in estimate._asdict().items()}
    return found


def largest_value_bound(coupling: tf.Tensor) -> Record:
    """The bound of σ_max(W) and what λ = σ_max + 5 becomes by it."""
    exact = float(np.linalg.svd(coupling.numpy().astype(np.float64), compute_uv=False)[0])
    bound = float(largest_singular_value(gram_powers(coupling)))
    found = {"exact": exact, "bound": bound, "lambda_exact": exact + LAMBDA_MARGIN}
    return found | {"lambda": bound + LAMBDA_MARGIN}


def measure(trained: TrainedModel) -> Record:
    """Everything of this module, of one run."""
    result, coupling = trained.result, trained.model.prior.parameters().coupling
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter", "skipped_updates")
    return {
        "run": {name: result[name] for name in kept},
        "ais": {**_AIS_SETTINGS, "bases": ais_weights(trained)},
        "tracked": trained.tracked_log_partition,
        "largest_singular_value": largest_value_bound(coupling),
    }


def main() -> None:
    """Measures one run."""
    parser = records.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--name", help="of the result; default: struct-baseline of the run")
    parser.add_argument("--data_dir", default="datasets")
    options = parser.parse_args()
    record = measure(TrainedModel(options.run, options.data_dir))
    name = options.name or "{struct}-{baseline}".format(**record["run"])
    records.keep("deviations", name, record)


if __name__ == "__main__":
    main()
