"""What makes runs alike, and the command lines that give them again."""

import dataclasses

from configs.registry import Structure
from tables.protocol import commands_for
from tables.results import gather, read_tree
from tests.helpers import hand_made_results


def test_protocol_names_every_field_that_decides_numbers(tmp_path):
    """A new field of ExperimentConfig is part of the protocol unless it is excluded on purpose."""
    hand_made_results.write(tmp_path, 85.0)
    [result] = read_tree(tmp_path).results
    found = result.protocol
    names = {name for name, _ in (*found.training, *found.measurement)}
    cell = {"dataset", "struct", "k", "baseline", "sampler", "seed"}
    harmless = {"input_size", "summary_every", "eval_batchsize"}
    assert set(result.config.to_json()) - names == cell | harmless | {"structure"}
    assert names >= {field.name for field in dataclasses.fields(Structure)} - {
        "units_per_group",  # the latents by the groups
        "prior",  # of the cell
        "edges",
    }


def test_commands_give_other_sizes_again(tmp_path):
    hand_made_results.write(tmp_path, 90.0, struct="1-layer-nonlin", num_latents=20)
    [cell] = gather(read_tree(tmp_path).results)
    [command] = commands_for("binarized_mnist", cell.protocol, [(cell.setting, cell.seeds)])
    assert command.endswith(
        " --structs=1-layer-nonlin --ks=1 --baselines=dvaes_power "
        "--samplers=pa --seeds=0 --num_latents=20"
    )


def test_commands_give_the_cells_again(tmp_path):
    changed = dict(num_sweeps=80, num_train_iter=10_000)
    for struct in ("1-layer-lin", "1-layer-nonlin"):
        for k in (1, 5):
            hand_made_results.write(tmp_path, 90.0, struct=struct, k=k, **changed)
    hand_made_results.write(tmp_path, 90.0, baseline="dvaes_exp", seed=3, **changed)
    cells = gather(read_tree(tmp_path).results)
    settings = [(cell.setting, cell.seeds) for cell in cells]
    commands = commands_for("binarized_mnist", cells[0].protocol, settings)
    start = "python run_table.py --datasets=binarized_mnist"
    rest = "--num_sweeps=80 --num_train_iter=10000"
    assert sorted(commands) == [
        f"{start} --structs=1-layer-lin,1-layer-nonlin --ks=1,5 --baselines=dvaes_power "
        f"--samplers=pa --seeds=0 {rest}",
        f"{start} --structs=1-layer-nonlin --ks=1 --baselines=dvaes_exp --samplers=pa "
        f"--seeds=3 {rest}",
    ]
