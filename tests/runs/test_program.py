"""run.py as a process: what a run leaves, and what can be done with it afterwards."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from tests.helpers import table_process, tiny_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A tiny run on a user's own grey images, trained by the command line in a process."""
    folder = tmp_path_factory.mktemp("cli")
    data_path = tiny_runs.write_data(folder / "own.npz", grey=True)
    arguments = [
        f"--dataset={data_path}",
        f"--log_dir={folder}/logs",
        "--struct=1-layer-lin",
        *tiny_runs.FLAGS,
    ]
    return folder, arguments, _process(arguments)


def _process(arguments, environment=None):
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    environment = environment or {**os.environ, "TF_XLA_FLAGS": ""}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=400, cwd=ROOT, env=environment
    )


def test_a_run_leaves_what_it_promises(finished_run):
    folder, _, done = finished_run
    assert done.returncode == 0, done.stderr[-2000:]
    last = done.stdout.strip().split("\n")[-1]
    assert last.startswith("result: ")
    result_path = Path(last.removeprefix("result: "))
    directory = result_path.parent
    assert directory == folder / "logs/own.npz/1-layer-lin/dvaes_power/1/pa_beta40_seed0"
    result = json.loads(result_path.read_text())
    wanted = (
        "dataset data_sha256 published_data struct baseline k sampler beta seed num_train_iter "
        "best_step val_nll test_nll test_neg_elbo log_z log_z_stderr eval_iw_samples ms_per_step "
        "versions log_z_interval nll_interval unnormalized_nll protocol"
    )
    assert set(wanted.split()) <= result.keys()
    assert result["test_nll"] == pytest.approx(result["unnormalized_nll"] + result["log_z"])
    interval = result["nll_interval"]
    assert interval["low"] <= result["test_nll"] <= interval["high"]
    assert result["test_neg_elbo"] >= result["test_nll"]
    for name in ("samples.png", "reconstructions.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")
    assert not (directory / "lock.json").exists()
    tags = {tag for tag, _ in tiny_runs.event_points(directory)}
    wanted_tags = (
        "train/neg_elbo obj/recon_loss obj/kl weight_decay/encoder weight_decay/decoder "
        "weight_decay/total kl_coeff learning_rate beta posterior/beta posterior/lambda "
        "posterior/active_q b_zeta_num val/neg_elbo val/neg_ll test/neg_elbo test/neg_ll b_zeta "
        "b_zeta_clipped q mean_q var_q recon generated_sample sampler/tracked_log_z log_z/ais "
        "log_z/ais_stderr log_z/ais_ess sampler/ess sampler/surviving_families sampler/resampled "
        "result/test_nll result/val_nll result/log_z ms_per_step chains gradient_norm/total"
    )
    assert set(wanted_tags.split()) <= tags
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    logged = set().union(*lines)
    assert "log_z/train" in logged and "ms_per_step" not in logged
    _check_step_times(directory, result["ms_per_step"])


def _check_step_times(directory, mean):
    """Of two windows, the first without the first step, whose time is the compiler's."""
    board = EventAccumulator(str(directory)).Reload()
    first, second = (make_ndarray(e.tensor_proto) for e in board.Tensors("ms_per_step"))
    assert (19 * first + 20 * second) / 39 == pytest.approx(mean, rel=1e-4)


def test_a_finished_run_is_shown(finished_run):
    _, arguments, first = finished_run
    again = _process(arguments)
    assert again.returncode == 0
    assert "this run is finished" in again.stdout
    assert again.stdout.strip().split("\n")[-1] == first.stdout.strip().split("\n")[-1]


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("evaluate", "evaluation.json"),
        pytest.param("log_z", "log_z.json", marks=pytest.mark.slow),
    ],
)
def test_modes_on_a_finished_run(finished_run, mode, left):
    folder, _, done = finished_run
    directory = Path(done.stdout.strip().split("\n")[-1].removeprefix("result: ")).parent
    arguments = [f"--mode={mode}", f"--run={directory}"]
    arguments += ["--ais_temperatures=20", "--ais_chains=64"]
    hidden = folder / "hidden.npz"
    if mode != "evaluate":  # the others need no data set
        (folder / "own.npz").rename(hidden)
    process = _process(arguments)
    if mode != "evaluate":
        hidden.rename(folder / "own.npz")
    assert process.returncode == 0, process.stderr[-2000:]
    assert (directory / left).exists()
    if mode == "evaluate":
        record = json.loads((directory / left).read_text())
        trained = json.loads((directory / "result.json").read_text())
        difference = record["test_nll"] - trained["test_nll"]
        assert abs(difference) < 1.0  # the same model, other samples
        assert record["protocol"]["ais_temperatures"] == 20


def test_errors_of_tensorflow_are_seen_and_nothing_else(finished_run, tmp_path):
    """At a first start, and at a second one from make, where an entry of the cache is not sound."""
    directory = Path(finished_run[2].stdout.strip().split("\n")[-1].removeprefix("result: ")).parent
    cache = tmp_path / 'of "programs" \\ [1]'  # TensorFlow would cut the name at its first blank
    arguments = ["--mode=generate", f"--run={directory}", f"--compile_cache={cache}"]
    environment = {**os.environ, "TF_XLA_FLAGS": ""}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    first = _process(arguments, environment)
    assert (first.returncode, first.stderr) == (0, "")
    assert (directory / "generated.png").exists()  # no data set is needed
    kept = {path: path.read_bytes() for path in cache.rglob("xla_compile_cache*")}
    assert kept
    for path, content in kept.items():
        path.write_bytes(content.replace(b"+prefer-no-gather", b"+prefer-no-gathex"))
    if not any(b"+prefer-no-gather" in content for content in kept.values()):
        pytest.skip("this processor's programs have no such feature")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    command = shlex.join([sys.executable, str(ROOT / "run.py"), *arguments])
    python.write_text(f"#!/bin/sh\nexec {command}\n")
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    second = subprocess.run(
        ["make", "-s", "quickstart", f"VENV={tmp_path}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert second.returncode == 0, second.stderr
    assert "Target machine feature +prefer-no-gathex is not" in second.stderr
    harmless = ("+prefer-no-scatter is not", "+prefer-no-gather is not", "text-format", "cuInit")
    assert not any(words in second.stderr for words in harmless)
    assert all("prefer-no-gathex" in line for line in second.stderr.splitlines())


@pytest.mark.slow
def test_damaged_compile_cache_is_done_without(finished_run, tmp_path):
    """Entries cut short, as by a full disk, end in the same result and a line that says why."""
    _, arguments, first = finished_run
    kept, damaged = ROOT / "build" / "xla-cache", tmp_path / "cache"
    for path in kept.glob("*/xla_compile_cache*"):
        place = damaged / path.relative_to(kept)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes()[:1000])
    assert any(damaged.glob("*/*"))
    again = [f"--log_dir={tmp_path}/logs", f"--compile_cache={damaged}"]
    done = _process([*arguments, *again])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "starting again without the compile cache" in done.stderr
    assert "Traceback" not in done.stderr
    lines = [run.stdout.strip().split("\n")[-2] for run in (first, done)]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_an_interrupted_table_reports_what_an_uninterrupted_run_does(finished_run, tmp_path):
    folder, arguments, _ = finished_run
    flags_of_run = [
        a for a in arguments if not a.startswith(("--dataset", "--log_dir", "--struct"))
    ]
    axes = [f"--datasets={folder}/own.npz", "--structs=1-layer-lin", "--baselines=dvaes_power"]
    table = [*axes, "--ks=1", "--seeds=0", f"--log_dir={tmp_path}/table", *flags_of_run]
    table_process.interrupt(table, tmp_path / "table", signal.SIGTERM)
    code, out = table_process.finish(table_process.start(table))
    assert code == 0, out
    [said] = (tmp_path / "table" / "output").glob("own.npz_*.txt")
    assert "resumed at step" in said.read_text()
    alone = ["--report_only", f"--log_dir={folder}/logs", f"--report_dir={tmp_path}/alone"]
    code, out = table_process.finish(table_process.start(alone))
    assert code == 0, out
    reports = [table_process.report_of(tmp_path / name) for name in ("table", "alone")]
    assert reports[0] == reports[1]
