"""A run that hops: it is trained for a while on a machine that has a GPU, JAX, and no TensorFlow.

    python -m benchmarks.gpu_training export FOLDER RUN_DIR ...
    python FOLDER/run_exported.py FOLDER OUT --seconds=540     there, then OUT is brought back
    python -m benchmarks.gpu_training take FOLDER OUT RUN_DIR ...
    python -m benchmarks.gpu_training compare FOLDER OUT RUN_DIR ...
    python -m benchmarks.gpu_training rehearse SCRATCH RUN_DIR ...     the hop on this machine's CPU

`take` gives the run directory a checkpoint of where it came to, as if run.py had trained those
steps there, and run.py goes on. Models that come back on the way are evaluated; the best is kept.
`compare` holds a job with kernels of ours (`export --kernels`) against the one without.
"""

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

import data
from benchmarks import exported, gpu_compiler, records
from benchmarks.run_exported import read_arrays, read_job
from configs.errors import UserError
from configs.experiment import ExperimentConfig
from data.batches import call_indices
from data.dataset import Dataset
from dvae.runs import gpu_kernel
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.code_version import code_version
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import digest, read_json
from dvae.runs.loop import MAX_SKIPPED_IN_A_ROW, STEPS_PER_CALL
from dvae.runs.monitor import Monitor
from dvae.runs.process import say
from dvae.runs.records import read_config
from dvae.runs.summaries import Summaries
from dvae.train_state import IN_A_ROW, named_leaves
from dvae.train_step import TrainProgram
from samplers import hardware

_MODELS = 20  # at most so many come back of a run's whole length, unless asked for

Arrays = dict[str, np.ndarray]


def _values(program: TrainProgram) -> Arrays:
    return {name: leaf.numpy() for name, leaf in named_leaves(program.state).items()}


def _digest(program: TrainProgram) -> str:
    """Of a checkpoint's content."""
    content = (name.encode() + array.tobytes() for name, array in _values(program).items())
    return hashlib.sha256(b"".join(content)).hexdigest()


def job_name(config: ExperimentConfig, kernels: bool = False) -> str:
    """The name of a run's job, of letters, digits, '_', '.' and '-', and its settings' alone.

    kernels: of the job that takes kernels of ours.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(config.run_directory(""))).strip("-.")
    return f"{readable}-{digest(config.to_json())[:8]}{'-kernels' * kernels}"


def restored(directory: RunDirectory, program: TrainProgram) -> tuple[Saver, Progress | None]:
    """Loads the newest checkpoint, if any; returns what writes the next, and how far it is."""
    saver = Saver(directory, program, RunOptions(max_unsaved_minutes=0.0))  # a failure ends it
    return saver, saver.restore()


def export(
    folder: Path,
    directory: RunDirectory,
    dataset: Dataset,
    last: int | None = None,
    model_every: int | None = None,
    kernels: hardware.Gpu | None = None,
) -> None:
    """Writes a run as a job that goes on from its newest checkpoint.

    last: step to train to; None: the run's last. model_every: steps between models that come back;
    None: as evaluations, or every twentieth of the run, whichever is less often. kernels: the GPU
    whose kernels of ours the program takes. Raises UserError when there is nothing to train, or its
    sweeps cannot be a kernel there.
    """
    config, _ = read_config(directory.path)
    last = config.num_train_iter if last is None else last
    every = model_every or max(config.eval_every, config.num_train_iter // _MODELS)
    plan = {
        **{"last": last, "per_call": STEPS_PER_CALL, "seed": config.seed},
        **{"summary_every": config.summary_every, "model_every": every},
        **{"num_images": len(dataset.train), "batch_size": config.train_batchsize},
        **{"most_bad": MAX_SKIPPED_IN_A_ROW, "rows": 1, "count": 2},
    }
    made: list[TrainProgram] = []

    def make() -> exported.Call:
        program = TrainProgram(config, dataset)
        _, progress = restored(directory, program)
        plan["first"] = first = progress.step if progress else 0
        if not first < last <= config.num_train_iter or every < 1:
            at = f"the run stands at step {first} of {config.num_train_iter}"
            raise UserError(f"{at}: it cannot be trained to step {last} with a model every {every}")
        made.append(program)
        # A loop's trips of as many steps as divide whatever a call has to take.
        steps = [plan[n] for n in ("first", "last", "per_call", "summary_every", "model_every")]
        rows = tf.zeros([STEPS_PER_CALL, config.train_batchsize], tf.int32)
        group = math.gcd(hardware.STEPS_A_TRIP, *steps)
        arguments = program.arguments(rows, tf.constant(0), group)
        return exported.Call(program.compiled, arguments, program.state)

    with hardware.use("gpu"):
        if kernels and (why := gpu_kernel.obstacle(config, kernels)):
            raise UserError(f"{directory.path} takes no kernels: {why}")
        with hardware.use_kernels(kernels):
            found = exported.export(make)
    [program] = made
    places = dict(zip(named_leaves(program.state), found.carried, strict=True))
    # Of a model on the way, evaluations and summaries need no more.
    model = list(named_leaves(program.state._replace(adam=(), image_states=())))
    plan |= {"id": _digest(program), "state": places, "model": model}
    plan |= {"sums": [places["metric_sums"]], "bad_in_a_row": [places["counts"], IN_A_ROW]}
    job = {"training": plan, "config": config.to_json(), "code": code_version()}
    name = job_name(config, kernels is not None)
    exported.write(folder, name, found, job)
    say(f"exported {name}: steps {plan['first']} to {plan['last']}")


def _models(out: Path, name: str, before: int) -> dict[int, Arrays]:
    """The models that came back of steps before this one, by step."""
    models: dict[int, Arrays] = {}
    for path in out.glob(f"{name}.models-*.npz"):
        for key, array in read_arrays(path).items():
            step, variable = key.split("/", 1)
            models.setdefault(int(step), {})[variable] = array
    return {step: models[step] for step in sorted(models) if step < before}


def _assign(program: TrainProgram, arrays: Arrays) -> None:
    """Gives the program's state those leaves that came back."""
    leaves = named_leaves(program.state)
    leaves |= {name: tf.constant(array, leaves[name].dtype) for name, array in arrays.items()}
    program.state = tf.nest.pack_sequence_as(program.state, list(leaves.values()))


def take(
    folder: Path,
    out: Path,
    directory: RunDirectory,
    dataset: Dataset,
    keep_steps: list[int],
    kernels: bool = False,
) -> None:
    """Gives a run what was trained of it elsewhere, as its newest checkpoint.

    kernels: by the job that takes kernels of ours.
    The models on the way are evaluated as run.py evaluates at their steps. That of the last step is
    left to run.py, which does there what is due. Those of `keep_steps` are kept as run.py does.
    Raises UserError when nothing was trained, or when it did not go on from where the run stands.
    """
    config, data_sha256 = read_config(directory.path)
    name = job_name(config, kernels)
    job, last = read_job(folder, name), read_arrays(out / f"{name}.state.npz")
    first = job["training"]["first"]
    facts = json.loads(str(last.pop("facts"))) if last else {"step": first}
    if facts["step"] == first:
        raise UserError(f"nothing was trained of {name} in {out}")
    models = _models(out, name, facts["step"])
    if missing := {s for s in keep_steps if first < s < facts["step"]} - set(models):
        raise UserError(f"no model of step {min(missing)} came back: see --model_every of export")
    directory.open(config, data_sha256, fresh=False)
    try:
        program = TrainProgram(config, dataset)
        saver, progress = restored(directory, program)
        if not _digest(program) == job["training"]["id"] == facts["id"]:
            raise UserError(f"{directory.path} does not stand where {folder} was exported from")
        summaries = Summaries(directory)
        if progress is None:
            summaries.forget_after(-1, -1)
            summaries.start(config)
            progress = Progress()
        else:
            summaries.forget_after(progress.step, progress.evaluated_step)
        monitor = Monitor(config, dataset, program, summaries)
        if progress.step == 0:
            monitor.begin(progress)
        for step, model in models.items():
            _assign(program, model)
            progress.step, progress.updates = step, step - program.state.skipped
            if step in keep_steps:
                saver.save_model("kept", progress)
            if step % config.summary_every == 0:
                monitor.summarize(progress)
            if monitor.evaluate(progress, lambda: None):
                saver.save_model("best", progress)
        summaries.flush()
        _assign(program, last)
        progress.step = facts["step"]
        progress.updates = progress.step - program.state.skipped
        progress.train_seconds += facts["seconds"]
        progress.timed_steps += facts["timed_steps"]
        for device, steps in facts["devices"].items():
            progress.devices[device] = progress.devices.get(device, 0) + steps
        if [version["sources"] for version in progress.code[-1:]] != [job["code"]["sources"]]:
            progress.code.append(job["code"])
        saver.save(progress)
    finally:
        directory.unlock()
    say(f"{directory.path} stands at step {facts['step']}: run.py goes on from there")


def _say_apart(start: Arrays, here: Arrays, there: Arrays) -> None:
    """How far two ends of a run are apart, and how far the steps moved it, by kind of number.

    As root mean squares over all numbers of a kind.
    """
    for kind in ("weights", "averages", "adam", "sampler"):
        names = [name for name in start if name.split("/")[0] == kind and name != "adam/count"]
        first, *ends = (
            np.concatenate([end[name].ravel() for name in names], dtype=np.float64)
            for end in (start, here, there)
        )
        apart, moved = (np.sqrt(np.mean((ends[0] - other) ** 2)) for other in (ends[1], first))
        say(f"{kind}: apart {apart:.2e}, moved {moved:.2e}")


def compare(folder: Path, out: Path, directory: RunDirectory, dataset: Dataset) -> None:
    """Prints how far the job with kernels of ours ended from that without, and what a step took."""
    config, _ = read_config(directory.path)
    ends, steps = [], []
    for kernels in (False, True):
        name = job_name(config, kernels)
        end = read_arrays(out / f"{name}.state.npz")
        told = read_json(out / "times.json")["jobs"].get(name) if end else None
        if told is None:
            raise UserError(f"nothing was trained to its end of {name} in {out}")
        facts = json.loads(str(end.pop("facts")))
        ends.append(end)
        steps.append(facts["step"])
        say(f"{name}: to step {steps[-1]}, {told['microseconds']:.1f} us a step")
        say(f"    on {', '.join(facts['devices'])}, compiled in {told['compile_seconds']:.0f} s")
    if steps[0] != steps[1]:
        raise UserError("they ended at different steps, so that nothing more can be compared")
    program = TrainProgram(config, dataset)
    restored(directory, program)
    _say_apart(_values(program), *ends)


def rehearse(scratch: Path, source: Path, dataset: Dataset, steps: int) -> None:
    """Hops a copy of a run by JAX's CPU, and prints how far it ended from its own program's end."""
    path, folder, out = (scratch / name for name in ("run", "folder", "out"))
    shutil.copytree(source, path)
    directory, (config, _) = RunDirectory(path), read_config(path)
    program = TrainProgram(config, dataset)
    saver, progress = restored(directory, program)
    first = progress.step if progress else 0
    ends = [_values(program)]
    export(folder, directory, dataset, last=first + steps)
    command = [sys.executable, str(folder / "run_exported.py"), str(folder), str(out)]
    say(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip())
    take(folder, out, directory, dataset, [])
    shape = len(dataset.train), config.train_batchsize, config.seed
    for step in range(first, first + steps, STEPS_PER_CALL):
        size = min(STEPS_PER_CALL, first + steps - step)
        if step % config.summary_every == 0:
            program.take_metrics()
        program.run(call_indices(*shape, step, size, STEPS_PER_CALL), size)
    ends.append(_values(program))
    saver.restore()
    _say_apart(*ends, _values(program))


def main() -> None:
    """Exports, takes back, compares, or rehearses runs."""
    parser = records.parser(__doc__)
    parser.add_argument("mode", choices=["export", "take", "compare", "rehearse"])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER [OUT] RUN_DIR ...")
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--to", type=int, help="export: step to train to; default: the last")
    parser.add_argument("--model_every", type=int, help="export: steps between models")
    parser.add_argument(
        "--kernels",
        choices=list(gpu_compiler.TARGETS),
        help="export: with kernels of ours for this GPU, as a job of its own; take: that job",
    )
    parser.add_argument("--keep_steps", type=records.numbers, default=[], help="take: as of run.py")
    parser.add_argument("--steps", type=int, default=200, help="of a rehearsal")
    options = parser.parse_args()
    folder, *runs = options.paths
    out = runs.pop(0) if options.mode in ("take", "compare") and runs else None
    kernels = gpu_compiler.gpu_of(options.kernels) if options.kernels else None
    if not runs:
        parser.error("no RUN_DIR")
    records.prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    try:
        for path in runs:
            directory, (config, sha256) = RunDirectory(path), read_config(path)
            dataset = data.load(config.dataset, options.data_dir, config.input_size)
            if dataset.sha256 != sha256:
                raise UserError(f"{path} was trained on other data than {options.data_dir}'s")
            if options.mode == "rehearse":
                rehearse(folder / path.name, path, dataset, options.steps)
            elif options.mode == "export":
                export(folder, directory, dataset, options.to, options.model_every, kernels)
            elif options.mode == "compare":
                compare(folder, out, directory, dataset)
            else:
                take(folder, out, directory, dataset, options.keep_steps, kernels is not None)
    except (UserError, OSError, zipfile.BadZipFile) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
