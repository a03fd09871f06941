"""Whether a run is done."""

from tests.helpers import hand_made_results, stand_in_table


def test_a_result_of_another_configuration_finishes_nothing(tmp_path):
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    hand_made_results.write(tmp_path, 90.0, k=1, num_train_iter=10)
    assert run.directory.exists() and not run.is_finished()
    hand_made_results.write(tmp_path, 90.0, k=1, input_size=64)
    assert run.is_finished()
    (run.directory / "config.json").write_text("{")
    assert not run.is_finished()
