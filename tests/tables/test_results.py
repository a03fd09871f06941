"""Finished runs read back: each counted once, and damaged ones not at all."""

import pytest

from configs.errors import UserError
from tables import driver
from tables.results import gather, read_tree
from tests.helpers.hand_made_results import write


def test_the_same_run_twice_counts_once(tmp_path):
    """A copy beside it ends no report; two trees together are the user's to choose from."""
    for tree, nll in (("b", 86.0), ("a", 85.0)):
        write(tmp_path / tree, nll)
    write(tmp_path, 87.0, seed=1)
    document = driver.write_report(tmp_path, tmp_path)
    [[line]] = [table.rows for table in document.tables if table.title == "Not counted"]
    assert line[0].startswith("b/") and "is the same run as a/" in line[0]
    [cell] = gather(read_tree(tmp_path).results)
    assert sorted(run.nll for run in cell.results) == [85.0, 87.0]
    with pytest.raises(UserError, match="are the same run"):
        gather([run for tree in "ab" for run in read_tree(tmp_path / tree).results])


_OTHERS = [
    (dict(seed=1), "seed: 1 there, 0 here"),
    (dict(base_lr=0.5), "base_lr: 0.5 there, 0.003 here"),
    (dict(ais_temperatures=7), "ais_temperatures: 7 there, 1000 here"),
    (dict(eval_batchsize=3), "eval_batchsize: 3 there, 1000 here"),
    (dict(record_changes=dict(sha="cd" * 32)), f"data_sha256: {'cd' * 32} there"),
]


@pytest.mark.parametrize(("fields", "named"), _OTHERS)
def test_a_result_of_another_run_is_named_and_not_counted(tmp_path, fields, named):
    """Whatever the two runs differ in, the data included."""
    run, other = write(tmp_path / "a", 85.0), write(tmp_path / "b", 70.0, **fields)
    (run / "result.json").write_bytes((other / "result.json").read_bytes())
    tree = read_tree(tmp_path / "a")
    assert len(tree.problems) == 1
    [problem] = tree.problems
    assert f"{run}/result.json is of another run" in problem and named in problem
    assert not tree.results
