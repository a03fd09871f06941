"""Whole training runs on a GPU of a machine that has JAX and no TensorFlow.

    python -m benchmarks.gpu_training export FOLDER STRUCT/K/BASELINE ...
    python benchmarks/run_exported.py FOLDER OUT                    there, then OUT is brought back
    python -m benchmarks.gpu_training finish FOLDER OUT LOG_DIR

The program, the weights it starts from and the batches are those of run.py with the same settings.
`finish` evaluates what was trained as the end of a run does, here, and writes config.json and
result.json where a run would; ms_per_step is the GPU's.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import data
from benchmarks import exported
from configs.paper import ExperimentConfig, build_config
from data.batches import call_indices
from data.dataset import Dataset
from dvae.evaluation import Evaluator
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import STEPS_PER_CALL
from dvae.runs.process import prepare_device
from dvae.runs.records import code_version, read_result, write_checked
from dvae.runs.result import announce, evaluate_model, run_record
from dvae.streams import Stream, stream_key
from dvae.train_step import STEPS_A_GROUP, TrainProgram

_INDICES = 1  # which argument of the program they are


def batches(config: ExperimentConfig, num_images: int) -> np.ndarray:
    """The indices of all calls, int32 [calls, STEPS_PER_CALL, B]."""
    shape = num_images, config.train_batchsize, config.seed
    starts = range(0, config.num_train_iter, STEPS_PER_CALL)
    return np.stack([call_indices(*shape, t, STEPS_PER_CALL, STEPS_PER_CALL) for t in starts])


def kept(program: TrainProgram) -> dict[str, tf.Variable]:
    """What the evaluation needs of a trained program, by name."""
    state = program.state
    named = {f"model {i:03d}": v.value for i, v in enumerate(program.model.variables)}
    named |= {f"sampler {i:03d}": v for i, v in enumerate(state.sampler)}
    return named | {"step": state.step, "skipped": state.skipped}


def export(folder: Path, config: ExperimentConfig, dataset: Dataset) -> None:
    """Writes a run as a job. Its number of steps must be a multiple of `STEPS_PER_CALL`."""
    if config.num_train_iter % STEPS_PER_CALL:
        raise SystemExit(f"--steps={config.num_train_iter} must be a multiple of {STEPS_PER_CALL}")
    indices = batches(config, len(dataset.train))
    programs = []

    def make() -> exported.Call:
        program = TrainProgram(config, dataset)
        programs.append(program)
        first, number = tf.constant(indices[0]), tf.constant(STEPS_PER_CALL)
        arguments = program._images, first, number, program.run_key, STEPS_A_GROUP
        return exported.Call(program._compiled, arguments)

    found = exported.export(make)
    places = {id(variable): i for i, variable in enumerate(found.variables) if variable is not None}
    # What the program does not touch stays as it is made.
    keep = {name: places[id(v)] for name, v in kept(programs[0]).items() if id(v) in places}
    name = f"{config.struct}-{config.baseline}-k{config.k}"
    exported.write(
        folder,
        name,
        found,
        exported.Work(len(indices), "step", STEPS_PER_CALL),
        {_INDICES: indices},
        keep,
        config=config.to_json(),
        code=code_version(),
    )
    print(f"exported {name}", flush=True)


def finish(folder: Path, out: Path, name: str, dataset: Dataset, log_dir: Path) -> dict[str, Any]:
    """Evaluates a trained job and writes its result, if there is none yet; returns it."""
    job = json.loads((folder / "jobs" / f"{name}.json").read_text(encoding="utf-8"))
    config = ExperimentConfig.from_json(job["config"])
    directory = RunDirectory(config.run_directory(log_dir))
    if directory.result.exists():
        return read_result(directory.result)
    times = json.loads((out / "times.json").read_text(encoding="utf-8"))
    program = TrainProgram(config, dataset)
    variables = kept(program)
    with np.load(out / f"{name}.npz") as trained:
        for key in job["keep"]:
            variables[key].assign(trained[key])
    steps = int(program.state.step)
    if steps != config.num_train_iter:
        raise SystemExit(f"{name} stands at step {steps}, not at {config.num_train_iter}")
    key = stream_key(program.run_key, Stream.FINAL)
    chains = program.sampler.chains(program.sampler_state())
    evaluation = evaluate_model(Evaluator(program.model), config, dataset, chains, key)
    record = run_record(
        config,
        dataset,
        evaluation,
        best_step=steps,
        skipped_updates=int(program.state.skipped),
        ms_per_step=1e-3 * times["jobs"][name]["microseconds"],
        device=times["device"],
        code=[job["code"]],
    )
    directory.open(config, dataset.sha256, fresh=False)
    try:
        write_checked(directory.result, record)
    finally:
        directory.unlock()
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="binarized_mnist")
    parser.add_argument("--data_dir", default="datasets")
    modes = parser.add_subparsers(dest="mode", required=True)
    writer = modes.add_parser("export")
    writer.add_argument("folder", type=Path)
    writer.add_argument("cells", nargs="+", metavar="STRUCT/K/BASELINE")
    writer.add_argument("--steps", type=int, default=10_000)
    writer.add_argument("--eval_iw_samples", type=int, default=100)
    reader = modes.add_parser("finish")
    for name in ("folder", "out", "log_dir"):
        reader.add_argument(name, type=Path)
    return parser


def main() -> None:
    """Exports runs, or finishes all that came back."""
    options = _parser().parse_args()
    prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    dataset = data.load(options.dataset, options.data_dir)
    if options.mode == "export":
        for cell in options.cells:
            struct, k, baseline = cell.split("/")
            config = build_config(
                dataset=options.dataset,
                struct=struct,
                k=int(k),
                baseline=baseline,
                num_train_iter=options.steps,
                eval_iw_samples=options.eval_iw_samples,
                input_size=dataset.input_size,
            )
            export(options.folder, config, dataset)
        return
    for path in sorted(options.out.glob("*.npz")):
        announce(finish(options.folder, options.out, path.stem, dataset, options.log_dir))


if __name__ == "__main__":
    main()
