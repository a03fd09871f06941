"""Whether a run is done."""

import dataclasses

from tests.helpers import hand_made_results, stand_in_table


def test_a_result_of_another_configuration_finishes_nothing(tmp_path):
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    hand_made_results.write(tmp_path, 90.0, k=1, num_train_iter=10)
    assert run.directory.exists() and not run.is_finished()
    hand_made_results.write(tmp_path, 90.0, k=1, input_size=64)
    assert run.is_finished()
    assert run._replace(data_sha256="ab" * 32).is_finished()
    assert not run._replace(data_sha256="cd" * 32).is_finished()  # another file of that name
    (run.directory / "config.json").write_text("{")
    assert not run.is_finished()


def test_a_log_has_a_name_that_can_be(tmp_path):
    """A data file may have a name as long as a name can be, and the log's is longer."""
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    paths = set()
    for stem in ("n" * 250, "n" * 249 + "m", "é" * 124):
        config = dataclasses.replace(run.config, dataset=f"{stem}.npz")
        path = run._replace(config=config).log_path
        path.parent.mkdir(exist_ok=True)
        path.write_text("said")
        paths.add(path)
    assert len(paths) == 3
    assert run.log_path.name == f"{run.name.replace('/', '_')}.txt"
