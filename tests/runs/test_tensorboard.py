"""What TensorBoard shows: each run of a table its own trial, and pages that are laid out."""

import math
import re
from unittest.mock import MagicMock

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from configs.experiment import build_config
from dvae import adam
from dvae.runs import tags
from dvae.runs.checkpoints import Progress, RunOptions
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import Run
from dvae.runs.summaries import Summaries
from tests.helpers.tiny_training import config_of, eager
from tests.runs.test_monitor import monitor_of, written_down


def test_runs_of_a_table_are_comparable_trials(tmp_path):
    """In TensorBoard over their directory each is its own trial, all with the same metrics."""
    board, groups, names = EventMultiplexer(), set(), set()
    # Of one leaf name but for beta.
    cases = [(method, seed) for method in ("dvaes_exp", "dvaepp_exp") for seed in (0, 1)]
    configs = [build_config(baseline=m, struct="1-layer-nonlin", seed=seed) for m, seed in cases]
    for number, config in enumerate(configs):
        path = config.run_directory(tmp_path)
        path.mkdir(parents=True)
        summaries = Summaries(RunDirectory(path))
        summaries.start(config)
        summaries.finish(7, {"test_nll": 80.0 + number, "val_nll": 81.0, "log_z": 3.0})
    board.AddRunsFromDirectory(str(tmp_path)).Reload()
    assert set(board.Runs()) == {str(config.run_directory("")) for config in configs}
    for number, config in enumerate(configs):
        run = str(config.run_directory(""))
        facts = board.SummaryMetadata(run, metadata.SESSION_START_INFO_TAG).plugin_data.content
        session = metadata.parse_session_start_info_plugin_data(facts)
        groups.add(session.group_name)
        names.add(frozenset(session.hparams))
        assert session.hparams["baseline"].string_value == config.baseline
        _check_pages(board, run, session)
        [event] = board.Tensors(run, "result/test_nll")
        assert event.step == 7
        assert make_ndarray(event.tensor_proto) == 80.0 + number
    assert len(groups) == len(configs), "runs of one group count as repetitions of each other"
    assert len(names) == 1


def test_what_decides_the_numbers_makes_another_trial(tmp_path, monkeypatch):
    """Each in a log_dir of its own; the same settings again are a repetition of them."""
    trials = []
    monkeypatch.setattr(
        "dvae.runs.summaries.hp.hparams", lambda values, trial_id: trials.append((trial_id, values))
    )
    changes = [{}, {}, {"base_lr": 1e-3}, {"num_sweeps": 7}, {"train_batchsize": 50}]
    changes += [{"ais_chains": 64}, {"num_chains": 10}, {"eval_iw_samples": 9}]
    for number, change in enumerate(changes):
        path = tmp_path / str(number)
        path.mkdir()
        Summaries(RunDirectory(path)).start(build_config(**change))
    names = [name for name, _ in trials]
    assert names[0] == names[1] and len(set(names)) == len(changes) - 1
    assert all(c.items() <= values.items() for c, (_, values) in zip(changes, trials, strict=True))


def test_pictures_come_first_and_those_of_chains_last():
    """TensorBoard sorts by letter; its first page opens the first two tags."""
    ordered = sorted(tags.DESCRIPTIONS)
    assert ordered[:2] == [tags.RECONSTRUCTIONS, tags.SAMPLES] and tags.CHAINS > "beta"


def _check_pages(board, run, session):
    """HParams has results alone as metrics, all settings as they were used, five of them shown."""
    content = board.SummaryMetadata(run, metadata.EXPERIMENT_TAG).plugin_data.content
    page = metadata.parse_experiment_plugin_data(content)
    assert [info.name.tag for info in page.metric_infos] == [*tags.RESULTS]
    assert {info.name: info.type for info in page.hparam_infos} == {
        name: 1 if value.HasField("string_value") else 3 for name, value in session.hparams.items()
    }
    shown = {info.name for info in page.hparam_infos if info.differs}
    assert shown == {"baseline", "beta", "dataset", "k", "struct"}
    [event] = board.Tensors(run, "flags")
    text = str(make_ndarray(event.tensor_proto))
    assert "--beta=" in text and "--num_latents=200" in text and "None" not in text


def test_no_tag_is_in_two_charts_and_each_is_described():
    page = layout_pb2.Layout.FromString(tags.layout()[1])
    assert [place.title for place in page.category] == [*tags.CHARTS]
    charts = [chart.multiline.tag for place in page.category for chart in place.chart]
    expressions = [expression for chart in charts for expression in chart]
    for tag, text in tags.DESCRIPTIONS.items():
        found = [e for e in expressions if re.match(e, tag)]
        assert text and len(found) == (tag not in tags._OTHERS), tag
    [trusted] = [chart for chart in charts if "^log_z/ais$" in chart]
    assert f"^{tags.TRACKED}$" not in trusted


@pytest.mark.parametrize(
    ("baseline", "sampler"), [("dvaes_gi", "pa"), ("dvaes_gauss", "pcd"), ("dvaes_unexp", "pa")]
)
def test_what_a_summary_writes_is_described(tmp_path, monkeypatch, baseline, sampler):
    monitor, _ = monitor_of(tmp_path, baseline=baseline, sampler=sampler, num_chains=20)
    written_down(monitor, monkeypatch)
    with eager():
        monitor.summarize(Progress(step=5))
    monitor.summaries.flush()
    board = EventMultiplexer().AddRun(str(tmp_path), "run").Reload()
    written = board.GetAccumulator("run").Tags()["tensors"]
    assert {tags.RECONSTRUCTIONS, tags.SAMPLES, tags.CHAINS, "posterior/active_q"} <= {*written}
    assert (tags.TRACKED in written) == (sampler == "pa")
    for tag in written:
        description = board.SummaryMetadata("run", tag).summary_description
        assert description == tags.DESCRIPTIONS[tag], tag


def test_gradient_norms_are_of_the_parts_and_of_the_last_updates(tmp_path):
    """After updates with g and h the mean square is (0.999 g^2 + h^2) / 1.999 of each weight."""
    monitor, program = monitor_of(tmp_path)
    size = program.state.weights.shape[0]
    g, h = np.random.default_rng(3).standard_normal((2, size))
    state = program.state.adam
    assert monitor._gradient_norms() == {}
    for gradient in (g, h):
        _, state = adam.update(tf.zeros(size), state, tf.constant(gradient, tf.float32), 1.0)
    program.state = program.state._replace(adam=state)
    squares, start, sums = (0.999 * g**2 + h**2) / 1.999, 0, {}
    for variable in program.trained:
        end = start + int(np.prod(variable.shape))
        sums[variable.path] = sums.get(variable.path, 0.0) + squares[start:end].sum()
        start = end
    found = monitor._gradient_norms()
    for part in ("encoder", "decoder", "prior"):
        paths = {variable.path for variable in getattr(program.model, part).trainable_variables}
        expected = math.sqrt(sum(sums[path] for path in paths))
        assert found[f"gradient_norm/{part}"] == pytest.approx(expected, rel=1e-3)
    assert found["gradient_norm/total"] == pytest.approx(math.sqrt(squares.sum()), rel=1e-3)


def test_step_times_are_those_of_their_window_and_not_the_compilers(capsys):
    """The first step takes 100 s, those up to 20 take 1 s, the others 2."""
    run = object.__new__(Run)
    run.config = config_of(num_train_iter=40, summary_every=10, eval_every=1000)
    run.options, run.progress, run._timed = RunOptions(), Progress(), (0.0, 0)
    for name in ("program", "directory", "monitor", "_saver", "_summaries", "_signals"):
        setattr(run, name, MagicMock())
    run._saver.is_due = run._signals.save_requested = lambda *_: False

    def advance(num_steps):
        before, run.progress.step = run.progress.step, run.progress.step + num_steps
        return num_steps * (100.0 if before == 0 else 1.0 if before < 20 else 2.0)

    run._advance, run._check_numbers = advance, lambda: None
    run._loop()
    times = [call.args for call in run._summaries.step_time.call_args_list]
    assert times == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    compiling, training, *_ = filter(None, capsys.readouterr().err.split("\r"))
    assert compiling.startswith("compiling:") and " 0/40 " in compiling
    assert training.startswith("training:") and " 1/40 " in training and "?" in training
