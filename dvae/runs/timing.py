"""How long a run would take on this machine, measured over a few steps of its own programs."""

import time
from collections.abc import Callable

from configs.experiment import ExperimentConfig
from configs.paper import SELECTION_SAMPLES
from data.batches import call_indices
from data.dataset import Dataset
from dvae.evaluation import Evaluator, num_workers
from dvae.runs.loop import STEPS_PER_CALL
from dvae.runs.result import ais_settings
from dvae.train_step import TrainProgram
from samplers import counter_random, log_partition

MIN_SECONDS = 3.0  # steps are timed for at least so long
MIN_STEPS = 5
_BATCHES_PER_WORKER = 4  # of evaluation are timed; the first one is alone, as always
_AIS_RUNS = 2  # forward and reverse


def _seconds(work: Callable[[], object], calls: int = 2) -> float:
    """Seconds of the last of some calls; the first one may compile."""
    for _ in range(calls):
        start = time.perf_counter()
        work()
    return time.perf_counter() - start


def step_seconds(
    program: TrainProgram, config: ExperimentConfig, dataset: Dataset
) -> tuple[float, float]:
    """(seconds of the first step, compiler included; seconds per step after it)."""
    data = len(dataset.train), config.train_batchsize, config.seed

    def steps(count: int) -> float:
        indices = call_indices(*data, 0, count, STEPS_PER_CALL)
        return _seconds(lambda: program.run(indices, count), 1)

    first = steps(1)
    count, taken = MIN_STEPS, steps(MIN_STEPS)
    if taken < MIN_SECONDS:
        wanted = int(MIN_STEPS * MIN_SECONDS / max(taken, 1e-6))
        count = min(STEPS_PER_CALL, max(MIN_STEPS, wanted))
        taken = steps(count)
    return first, taken / count


def sample_seconds(program: TrainProgram, config: ExperimentConfig, dataset: Dataset) -> float:
    """Seconds of evaluation per image and importance sample."""
    evaluator, most = Evaluator(program.model), config.eval_batchsize
    num_batches = 1 + _BATCHES_PER_WORKER * num_workers()
    size = evaluator.images_per_call(most, SELECTION_SAMPLES)
    images = dataset.validation[: num_batches * size]
    key = counter_random.key(config.seed)
    taken = _seconds(lambda: evaluator.likelihood(images, SELECTION_SAMPLES, most, key))
    return taken / (len(images) * SELECTION_SAMPLES)


def ais_seconds(program: TrainProgram, config: ExperimentConfig) -> float:
    """Seconds of one estimate of log Z."""
    of = program.model.prior.energy_model, program.parameters(), program.chains()
    key, settings = counter_random.key(config.seed), ais_settings(config)
    return _seconds(lambda: float(log_partition.estimate(*of, key, settings).value))


def measure(config: ExperimentConfig, dataset: Dataset) -> dict[str, float]:
    """Times a few steps, one evaluation batch and one AIS.

    Returns:
      "ms_per_step", "compile_seconds" (of the training program), "evaluation_seconds" (each of
      those during training), "final_seconds" (of the final evaluation) and "hours" (of the whole
      run, alone on this machine).
    """
    program = TrainProgram(config, dataset)  # its weights and chains are those of a start
    compile_seconds, step = step_seconds(program, config, dataset)
    per_sample, ais = sample_seconds(program, config, dataset), ais_seconds(program, config)
    num_validation, num_test = len(dataset.validation), len(dataset.test)
    selection = per_sample * SELECTION_SAMPLES
    evaluation = _AIS_RUNS * ais + selection * (num_validation + num_test)
    final = _AIS_RUNS * ais + selection * num_validation
    final += per_sample * config.eval_iw_samples * num_test
    evaluations = -(-config.num_train_iter // config.eval_every)
    total = compile_seconds + step * config.num_train_iter + evaluation * evaluations + final
    return {
        "ms_per_step": 1e3 * step,
        "compile_seconds": compile_seconds,
        "evaluation_seconds": evaluation,
        "final_seconds": final,
        "hours": total / 3600.0,
    }
