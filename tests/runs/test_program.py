"""run.py as a process: what a run leaves, and what can be done with it afterwards."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import tiny_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A tiny run on own grey images by the command line: folder, arguments, output, its place."""
    folder = tmp_path_factory.mktemp("cli")
    data_path = tiny_runs.write_data(folder / "own.npz", grey=True)
    places = f"--dataset={data_path}", f"--log_dir={folder}/logs", "--struct=1-layer-lin"
    arguments = [*places, *tiny_runs.FLAGS]
    done = _process([sys.executable, str(ROOT / "run.py"), *arguments])
    lines = done.stdout.strip().split("\n")
    assert done.returncode == 0 and lines[-1].startswith("result: "), done.stderr[-2000:]
    return folder, arguments, lines, Path(lines[-1].removeprefix("result: ")).parent


def _process(command, **variables):
    environment = {**os.environ, "TF_XLA_FLAGS": "", **variables}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=400, cwd=ROOT, env=environment
    )


_RESULT = (
    "dataset data_sha256 published_data struct baseline k sampler beta seed num_train_iter "
    "best_step val_nll test_nll test_neg_elbo log_z log_z_stderr eval_iw_samples ms_per_step "
    "versions log_z_interval nll_interval unnormalized_nll protocol"
)
_TAGS = (
    "train/neg_elbo obj/recon_loss obj/kl weight_decay/encoder weight_decay/decoder "
    "weight_decay/total kl_coeff learning_rate beta posterior/beta posterior/lambda "
    "posterior/active_q b_zeta_num val/neg_elbo val/neg_ll test/neg_elbo test/neg_ll b_zeta "
    "b_zeta_clipped q mean_q var_q Reconstructions Samples sampler/tracked_log_z log_z/ais "
    "log_z/ais_stderr log_z/ais_ess sampler/ess sampler/surviving_families sampler/resampled "
    "result/test_nll result/val_nll result/log_z ms_per_step chains gradient_norm/total"
)


def test_a_run_leaves_what_it_promises(finished_run):
    folder, _, _, directory = finished_run
    assert directory == folder / "logs/own.npz/1-layer-lin/dvaes_power/1/pa_beta40_seed0"
    result = json.loads((directory / "result.json").read_text())
    assert set(_RESULT.split()) <= result.keys()
    assert result["test_nll"] == pytest.approx(result["unnormalized_nll"] + result["log_z"])
    interval = result["nll_interval"]
    assert interval["low"] <= result["test_nll"] <= interval["high"]
    assert result["test_neg_elbo"] >= result["test_nll"]
    for name in ("samples.png", "reconstructions.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")
    assert not (directory / "lock.json").exists()
    assert set(_TAGS.split()) <= {tag for tag, _ in tiny_runs.event_points(directory)}


def test_a_finished_run_is_shown_and_evaluated(finished_run, program):
    _, arguments, lines, directory = finished_run
    code, out, _ = program(*arguments, "--compile_cache=")
    assert code == 0 and "this run is finished" in out
    assert out.strip().split("\n")[-1] == lines[-1]
    less = "--ais_temperatures=20", "--ais_chains=64"
    assert program("--mode=evaluate", f"--run={directory}", *less)[0] == 0
    record, trained = (
        json.loads((directory / f"{n}.json").read_text()) for n in ("evaluation", "result")
    )
    assert abs(record["test_nll"] - trained["test_nll"]) < 1.0  # the same model, other samples
    assert record["protocol"]["ais_temperatures"] == 20


def test_errors_of_tensorflow_are_seen_and_nothing_else(finished_run, tmp_path, monkeypatch):
    """At a first start, and at a second one from make, where an entry of the cache is not sound."""
    folder, _, _, directory = finished_run
    cache = tmp_path / 'of "programs" \\ [1]'  # TensorFlow would cut the name at its first blank
    command = [sys.executable, str(ROOT / "run.py"), "--mode=generate", f"--run={directory}"]
    command.append(f"--compile_cache={cache}")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    (folder / "own.npz").rename(folder / "hidden.npz")  # no data set is needed
    first = _process(command)
    (folder / "hidden.npz").rename(folder / "own.npz")
    assert (first.returncode, first.stderr) == (0, "")
    assert (directory / "generated.png").exists()
    kept = {path: path.read_bytes() for path in cache.rglob("xla_compile_cache*")}
    assert kept
    for path, content in kept.items():
        path.write_bytes(content.replace(b"+prefer-no-gather", b"+prefer-no-gathex"))
    if not any(b"+prefer-no-gather" in content for content in kept.values()):
        pytest.skip("this processor's programs have no such feature")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    second = _process(["make", "-s", "quickstart", f"VENV={tmp_path}"])
    assert second.returncode == 0, second.stderr
    assert "Target machine feature +prefer-no-gathex is not" in second.stderr
    assert all("prefer-no-gathex" in line for line in second.stderr.splitlines())
    harmless = ("+prefer-no-scatter is not", "+prefer-no-gather is not", "text-format", "cuInit")
    assert not any(words in second.stderr for words in harmless)


@pytest.mark.slow
def test_damaged_compile_cache_is_done_without(finished_run, tmp_path):
    """Entries cut short, as by a full disk, end in the same result and a line that says why."""
    _, arguments, lines, _ = finished_run
    kept, damaged = ROOT / "build" / "xla-cache", tmp_path / "cache"
    for path in kept.glob("*/xla_compile_cache*"):
        place = damaged / path.relative_to(kept)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes()[:1000])
    assert any(damaged.glob("*/*"))
    again = [f"--log_dir={tmp_path}/logs", f"--compile_cache={damaged}"]
    done = _process([sys.executable, str(ROOT / "run.py"), *arguments, *again])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "starting again without the compile cache" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip().split("\n")[-2] == lines[-2]
