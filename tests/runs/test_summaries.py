"""TensorBoard over a directory of many runs: each its own trial, all with the same metrics."""

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from configs.experiment import build_config
from dvae.runs.directory import RunDirectory
from dvae.runs.summaries import Summaries

_NAME = metadata.SESSION_START_INFO_TAG


def test_runs_of_a_table_are_comparable_trials(tmp_path):
    configs = [
        build_config(baseline=baseline, struct="1-layer-nonlin", seed=seed)
        for baseline in ("dvaes_exp", "dvaepp_exp")  # of one leaf name but for beta
        for seed in (0, 1)
    ]
    for number, config in enumerate(configs):
        path = config.run_directory(tmp_path)
        path.mkdir(parents=True)
        summaries = Summaries(RunDirectory(path))
        summaries.start(config, "flags")
        summaries.finish(7, {"test_nll": 80.0 + number, "val_nll": 81.0, "log_z": 3.0})
    board = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert set(board.Runs()) == {str(config.run_directory("")) for config in configs}
    groups, names = set(), set()
    for number, config in enumerate(configs):
        run = str(config.run_directory(""))
        content = board.SummaryMetadata(run, _NAME).plugin_data.content
        session = metadata.parse_session_start_info_plugin_data(content)
        groups.add(session.group_name)
        names.add(frozenset(session.hparams))
        assert session.hparams["baseline"].string_value == config.baseline
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
        Summaries(RunDirectory(path)).start(build_config(**change), "flags")
    names = [name for name, _ in trials]
    assert names[0] == names[1] and len(set(names)) == len(changes) - 1
    for change, (_, values) in zip(changes, trials, strict=True):
        assert change.items() <= values.items()
