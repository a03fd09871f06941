"""A run that hops: it is trained for a while on a machine that has a GPU, JAX, and no TensorFlow.

    python -m benchmarks.gpu_training begin LOG_DIR STRUCT/K/BASELINE/SEED ...     new runs, if any
    python -m benchmarks.gpu_training export FOLDER RUN_DIR ...
    python FOLDER/run_exported.py FOLDER OUT --seconds=540     there, then OUT is brought back
    python -m benchmarks.gpu_training take FOLDER OUT RUN_DIR ...

`export` writes a run's own program and its newest checkpoint; `take` gives the run directory a
checkpoint of where it came to, as if run.py had trained those steps there, and run.py goes on.
The models that come back on the way are evaluated, and the best is kept.
"""

import argparse
import hashlib
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import data
from benchmarks import exported
from benchmarks.device import prepare_device
from benchmarks.train_exported import read_arrays
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from data.dataset import Dataset
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.code_version import code_version
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import digest
from dvae.runs.loop import MAX_SKIPPED_IN_A_ROW, STEPS_PER_CALL
from dvae.runs.monitor import Monitor
from dvae.runs.process import say
from dvae.runs.records import read_config
from dvae.runs.summaries import Summaries
from dvae.train_state import IN_A_ROW, named_leaves
from dvae.train_step import TrainProgram
from samplers import hardware

_ROWS, _COUNT = 1, 2  # which arguments of the program
_MODELS = 20  # at most so many come back of a run's whole length, unless asked for


def _digest(program: TrainProgram) -> str:
    """Of a checkpoint's content."""
    found = hashlib.sha256()
    for name, tensor in named_leaves(program.state).items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def job_name(config: ExperimentConfig) -> str:
    """The name of a run's job, of letters, digits, '_', '.' and '-', and its settings' alone."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(config.run_directory(""))).strip("-.")
    return f"{readable}-{digest(config.to_json())[:8]}"


def restored(directory: RunDirectory, program: TrainProgram) -> tuple[Saver, Progress | None]:
    """Loads the newest checkpoint; returns what writes the next, and None where none was."""
    saver = Saver(directory, program, RunOptions(max_unsaved_minutes=0.0))  # a failure ends it
    return saver, saver.restore()


def _plan(
    config: ExperimentConfig, dataset: Dataset, first: int, last: int, model_every: int | None
) -> dict[str, Any]:
    """The steps of a hop, and what its batches are made of."""
    every = model_every or max(config.eval_every, config.num_train_iter // _MODELS)
    if not first < last <= config.num_train_iter or every < 1:
        raise UserError(
            f"the run stands at step {first} of {config.num_train_iter}: "
            f"it cannot be trained to step {last} with a model every {every}"
        )
    return {
        "first": first,
        "last": last,
        "per_call": STEPS_PER_CALL,
        "summary_every": config.summary_every,
        "model_every": every,
        "num_images": len(dataset.train),
        "batch_size": config.train_batchsize,
        "seed": config.seed,
        "most_bad": MAX_SKIPPED_IN_A_ROW,
    }


def _places(program: TrainProgram, found: exported.Exported) -> dict[str, Any]:
    """Which arguments of the program are what."""
    places = dict(zip(named_leaves(program.state), found.carried, strict=True))
    # Of a model on the way, evaluations and summaries need no more.
    model = program.state._replace(adam=(), image_states=())
    return {
        "rows": _ROWS,
        "count": _COUNT,
        "state": places,
        "model": list(named_leaves(model)),
        "sums": [places["metric_sums"]],
        "bad_in_a_row": [places["counts"], IN_A_ROW],
    }


def export(
    folder: Path,
    directory: RunDirectory,
    dataset: Dataset,
    last: int | None = None,
    model_every: int | None = None,
) -> None:
    """Writes a run as a job that goes on from its newest checkpoint.

    Args:
      folder: of all jobs.
      directory: of the run; it is only read.
      dataset: the run's.
      last: step to train to; None: the run's last.
      model_every: steps between models that come back; None: as evaluations, or every twentieth of
        the run, whichever is less often.

    Raises:
      UserError: there is nothing to train.
    """
    config, _ = read_config(directory.path)
    made: list[Any] = []

    def make() -> exported.Call:
        program = TrainProgram(config, dataset)
        _, progress = restored(directory, program)
        first = progress.step if progress else 0
        to = config.num_train_iter if last is None else last
        plan = _plan(config, dataset, first, to, model_every)
        made.extend((program, plan))
        # A loop's trips of as many steps as divide whatever a call has to take.
        steps = [plan[n] for n in ("first", "last", "per_call", "summary_every", "model_every")]
        group = math.gcd(hardware.STEPS_A_TRIP, *steps)
        rows = tf.zeros([STEPS_PER_CALL, config.train_batchsize], tf.int32)
        arguments = program.arguments(rows, tf.constant(0), group)
        return exported.Call(program.compiled, arguments, program.state)

    found = exported.export(make)
    program, plan = made
    plan |= _places(program, found) | {"id": _digest(program)}
    job = {"training": plan, "config": config.to_json(), "code": code_version()}
    exported.write(folder, job_name(config), found, job)
    say(f"exported {job_name(config)}: steps {plan['first']} to {plan['last']}")


def _models(out: Path, name: str, before: int) -> dict[int, dict[str, np.ndarray]]:
    """The models that came back of steps before this one, by step."""
    models: dict[int, dict[str, np.ndarray]] = {}
    for path in sorted(out.glob(f"{name}.models-*.npz")):
        for key, array in read_arrays(path).items():
            step, variable = key.split("/")
            if int(step) < before:
                models.setdefault(int(step), {})[variable] = array
    return dict(sorted(models.items()))


def _assign(program: TrainProgram, arrays: dict[str, np.ndarray]) -> None:
    """Gives the program's state those leaves that came back."""
    leaves = named_leaves(program.state)
    leaves |= {name: tf.constant(array, leaves[name].dtype) for name, array in arrays.items()}
    program.state = tf.nest.pack_sequence_as(program.state, list(leaves.values()))


def take(
    folder: Path,
    out: Path,
    directory: RunDirectory,
    dataset: Dataset,
    keep_steps: tuple[int, ...] = (),
) -> int:
    """Gives a run what was trained of it elsewhere, as its newest checkpoint.

    The models on the way are evaluated as run.py evaluates at their steps. That of the last step is
    left to run.py, which does there what is due. Those of `keep_steps` are kept as run.py does.

    Returns:
      The step that the run stands at.

    Raises:
      UserError: nothing was trained, or it did not go on from where the run stands.
    """
    config, data_sha256 = read_config(directory.path)
    name = job_name(config)
    job = json.loads((folder / "jobs" / f"{name}.json").read_text(encoding="utf-8"))
    last = read_arrays(out / f"{name}.state.npz")
    facts = json.loads(str(last.pop("facts"))) if last else {"step": job["training"]["first"]}
    if facts["step"] == job["training"]["first"]:
        raise UserError(f"nothing was trained of {name} in {out}")
    models = _models(out, name, facts["step"])
    for step in keep_steps:
        if job["training"]["first"] < step < facts["step"] and step not in models:
            raise UserError(f"no model of step {step} came back: see --model_every of export")
    directory.open(config, data_sha256, fresh=False)
    try:
        program = TrainProgram(config, dataset)
        saver, progress = restored(directory, program)
        if not _digest(program) == job["training"]["id"] == facts["id"]:
            raise UserError(
                f"{directory.path} does not stand where {folder} was exported from: take it into a "
                "copy of the directory made then"
            )
        summaries = Summaries(directory)
        if progress is None:
            directory.forget_after(-1, -1)
            summaries.start(config, "")
            progress = Progress()
        else:
            directory.forget_after(progress.step, progress.evaluated_step)
        monitor = Monitor(config, dataset, program, summaries)
        if progress.step == 0:
            monitor.begin(progress)
        for step, model in models.items():
            _assign(program, model)
            progress.step, progress.updates = step, step - program.state.skipped
            if step in keep_steps:
                saver.save_kept(progress)
            if step % config.summary_every == 0:
                monitor.summarize(progress)
            if monitor.evaluate(progress, lambda: None):
                saver.save_best(progress)
        summaries.flush()
        _assign(program, last)
        _note(progress, facts, job["code"])
        progress.updates = progress.step - program.state.skipped
        saver.save(progress)
    finally:
        directory.unlock()
    say(f"{directory.path} stands at step {facts['step']}: run.py goes on from there")
    return facts["step"]


def _note(progress: Progress, facts: dict[str, Any], code: dict[str, str | None]) -> None:
    """Adds what was trained elsewhere to what the run remembers."""
    progress.step = facts["step"]
    progress.train_seconds += facts["seconds"]
    progress.timed_steps += facts["timed_steps"]
    for device, steps in facts["devices"].items():
        progress.devices[device] = progress.devices.get(device, 0) + steps
    if [version["sources"] for version in progress.code[-1:]] != [code["sources"]]:
        progress.code.append(code)


def begin(log_dir: Path, cell: str, images: Dataset, /, **settings: Any) -> Path:
    """Makes the directory of a new run, as run.py would; returns it."""
    try:
        struct, k, baseline, seed = cell.split("/")
        numbers = {"k": int(k), "seed": int(seed)}
    except ValueError:
        raise UserError(f"{cell} is not STRUCT/K/BASELINE/SEED") from None
    config = build_config(struct=struct, baseline=baseline, **numbers, **settings)
    path = config.run_directory(log_dir)
    directory = RunDirectory.of_run(path, config, images.sha256, fresh=False)
    try:
        directory.keep_data_facts(images)
    finally:
        directory.unlock()
    return directory.path


def data_of(directory: RunDirectory, data_dir: str) -> Dataset:
    """A run's data set. Raises UserError when it is another than the run was begun with."""
    config, data_sha256 = read_config(directory.path)
    dataset = data.load(config.dataset, data_dir, config.input_size)
    if dataset.sha256 != data_sha256:
        raise UserError(f"{directory.path} was trained on other data than those in {data_dir}")
    return dataset


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="datasets")
    modes = parser.add_subparsers(dest="mode", required=True)
    new = modes.add_parser("begin")
    new.add_argument("log_dir", type=Path)
    new.add_argument("cells", nargs="+", metavar="STRUCT/K/BASELINE/SEED")
    new.add_argument("--dataset", default="binarized_mnist")
    new.add_argument("--steps", type=int, default=10_000)
    new.add_argument("--eval_iw_samples", type=int, default=4000)
    writer, reader = modes.add_parser("export"), modes.add_parser("take")
    writer.add_argument("folder", type=Path)
    writer.add_argument("--to", type=int, help="step to train to; default: the run's last")
    writer.add_argument("--model_every", type=int, help="steps between models that come back")
    for name in ("folder", "out"):
        reader.add_argument(name, type=Path)
    reader.add_argument("--keep_steps", type=int, nargs="*", default=(), help="as of run.py")
    for mode in (writer, reader):
        mode.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR")
    return parser


def _begin(options: argparse.Namespace) -> None:
    dataset = data.load(options.dataset, options.data_dir)
    for cell in options.cells:
        settings = {
            "dataset": options.dataset,
            "num_train_iter": options.steps,
            "eval_iw_samples": options.eval_iw_samples,
            "input_size": dataset.input_size,
        }
        print(begin(options.log_dir, cell, dataset, **settings))


def main() -> None:
    """Begins, exports, or takes back runs."""
    options = _parser().parse_args()
    prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    try:
        if options.mode == "begin":
            _begin(options)
            return
        for path in options.runs:
            directory = RunDirectory(path)
            dataset = data_of(directory, options.data_dir)
            if options.mode == "export":
                export(options.folder, directory, dataset, options.to, options.model_every)
            else:
                take(options.folder, options.out, directory, dataset, tuple(options.keep_steps))
    except (UserError, OSError, zipfile.BadZipFile) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
