"""A long run neither grows nor traces anew."""

from pathlib import Path

import pytest

from dvae.runs.loop import Run
from samplers import ais
from tests.helpers import tiny_runs

NUM_STEPS, SETTLED = 20_000, 2000
PAGE_KIB = 4


def resident_kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def traces(run):
    """How often each compiled function of a run has been traced."""
    functions = {
        "step": run.program.compiled,
        "latents": run.monitor.diagnostics._latents,
        "decode": run.monitor.diagnostics._decode,
        "evaluation": run.monitor.evaluator._compiled,
        "ais": ais._run,
    }
    return {name: f.experimental_get_tracing_count() for name, f in functions.items()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_soak(tmp_path, monkeypatch):
    """20,000 steps with summaries each 100, evaluations each 1000 and a checkpoint after each call.

    Resident memory after the first 2000 steps grows by less than 2 %.
    """
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=True)
    config = tiny_runs.tiny_config(
        path, num_train_iter=NUM_STEPS, summary_every=100, eval_every=1000, eval_iw_samples=100
    )
    seen = {}
    save = Run.save

    def watched(run):
        save(run)
        seen[run.progress.step] = (resident_kib(), traces(run))

    monkeypatch.setattr(Run, "save", watched)
    before = ais._run.experimental_get_tracing_count()
    tiny_runs.train(config, tmp_path / "run")
    memory, counts = seen[NUM_STEPS]
    assert memory < 1.02 * seen[SETTLED][0], f"{seen[SETTLED][0]} KiB grew to {memory} KiB"
    assert counts == seen[SETTLED][1]
    # AIS has two numbers of temperatures, evaluation two sets of images.
    assert counts["ais"] - before <= 2
    assert counts["evaluation"] <= 2
    assert counts["step"] == counts["latents"] == counts["decode"] == 1
    steps = [step for step in seen if step > SETTLED]
    print({step: seen[step][0] for step in steps[:: len(steps) // 9]})
