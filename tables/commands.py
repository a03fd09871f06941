"""The command lines that give a table again."""

from collections.abc import Sequence

from tables.cells import Cell
from tables.protocol import flags_of


def _joined(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _merge(rows: list[dict[str, tuple]], axis: str) -> list[dict[str, tuple]]:
    """Rows that differ in one axis alone become one."""
    merged: dict[tuple, dict[str, tuple]] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name != axis)
        if key in merged:
            merged[key][axis] += row[axis]
        else:
            merged[key] = dict(row)
    return list(merged.values())


def commands_for(cells: Sequence[Cell]) -> list[str]:
    """`run_table.py` command lines whose grids are these cells of one data set and protocol."""
    rows = [
        {
            "structs": (cell.setting.struct,),
            "ks": (cell.setting.k,),
            "baselines": (cell.setting.baseline,),
            "samplers": (cell.setting.sampler,),
            "seeds": cell.seeds,
        }
        for cell in cells
    ]
    for axis in ("samplers", "baselines", "ks", "structs"):
        rows = _merge(rows, axis)
    dataset, flags = cells[0].setting.dataset, flags_of(cells[0].protocol)
    commands = []
    for row in rows:
        axes = [f"--{name}={_joined(values)}" for name, values in row.items()]
        commands.append(" ".join(["python run_table.py", f"--datasets={dataset}", *axes, *flags]))
    return commands
