"""A finished run as a small directory to be shipped: its best model, its results, a model card.

What is left out is what only training needs: optimiser slots, logs, TensorBoard events. An exported
model is a run directory still: `dvae.load` and the modes of run.py read it as they read any other.
"""

import dataclasses
import os
import shutil
from pathlib import Path

from configs.errors import UserError, name_of
from configs.files import aside_of, exists, open_to_read, writing_to
from dvae.runs import records
from dvae.runs.checkpoints import best_files
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import read_json
from dvae.runs.model_card import model_card, model_name
from dvae.runs.trained_model import TrainedModel
from dvae.runs.weights_file import write_weights

_MAX_BYTES = 1 << 40
_REMEDY = "put the file itself there"


def _without_place(note: str) -> str:
    """What a loader says of its data, but for where on a machine it found them."""
    return note.split("; from ")[0]


def copy_file(run: Path, name: str, target: Path) -> None:
    """Copies run/NAME to target/NAME: a regular file, which no link on the way leads to.

    Raises:
      UserError: it is anything else. A model that somebody sent could pass off any file of this
        machine as its own by a link.
      OSError: it cannot be written.
    """
    path = run / name
    for parent in path.relative_to(run).parents[:-1]:
        if (run / parent).is_symlink():
            raise UserError(f"{run / parent} is a link: a model is exported from files of its own")
    copy = target / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_to_read(path, _MAX_BYTES, _REMEDY, follow_links=False) as source,
        copy.open("xb") as to,
    ):
        shutil.copyfileobj(source, to)


def copy_result(run: Path, target: Path) -> None:
    """Copies config.json and result.json, without the data's place on a machine.

    Raises:
      UserError: the result is damaged or of another run.
      OSError: nothing can be written.
    """
    found, result = records.read_config(run), records.read_result(run / "result.json")
    result["protocol"]["data"] = _without_place(result["protocol"]["data"])
    if found.config.has_own_data:
        config = dataclasses.replace(found.config, dataset=found.config.dataset_name)
        found = found._replace(config=config)
    records.write_config(target / "config.json", found)
    records.write_bound(target / "result.json", result, result.pop("identity"))


def _fill(run: RunDirectory, target: RunDirectory) -> None:
    """Everything but the card; the checkpoint byte for byte."""
    best = records.read_result(run.result)["best_step"]
    place = f"{run.checkpoints.name}/{records.checkpoint_name('best', best)}"
    names = [f"{place}/{name}" for name in best_files(run, best)]
    for path in (run.config, run.data, run.result):
        if path.is_symlink():
            raise UserError(f"{path} is a link, not a file; {_REMEDY}")
    if exists(run.path / "samples.png"):
        names.append("samples.png")
    for name in names:
        copy_file(run.path, name, target.path)
    run.read_data_facts()
    facts = records.read_bound(run.data)
    facts["notes"] = _without_place(facts["notes"])
    records.write_bound(target.data, facts, facts.pop("identity"))
    copy_result(run.path, target.path)


def export_run(path: Path, target: Path | None = None) -> Path:
    """Writes the best model of a finished run as a small directory that works on its own.

    Args:
      path: the run directory; it is only read.
      target: the new directory; None: exported/<dataset>-<struct>-<baseline>-k<k>-<the last part
        of a run's path>, which no shipped model and no table's directory has.

    Returns:
      The new directory: config.json, data.json, result.json, README.md (the model card),
      samples.png, the best checkpoint, and weights.npz: its weights and chains once more, for
      programs that have NumPy alone. It has been read back once.

    Raises:
      UserError: the run is unfinished or damaged, or the directory is there already or cannot be
        written.
    """
    run = RunDirectory(path)
    config = records.read_config(path).config
    if not run.result.exists():
        raise UserError(f"{path} is not finished: its command, started again, goes on or says why")
    if target is None:
        target = Path("exported") / f"{model_name(config)}-{config.run_directory('.').name}"
    if target.exists():
        raise UserError(f"{target} exists: remove it, or choose another {name_of('out_dir')}")
    aside = RunDirectory(aside_of(target))
    # A card is for others, and says nothing of the places of a machine.
    beside, shown = target.absolute(), Path(target.name)
    if beside.is_relative_to(Path.cwd()):
        shown = beside.relative_to(Path.cwd())
    try:
        with writing_to(target.parent, f"choose another {name_of('out_dir')}"):
            aside.path.mkdir()
            _fill(run, aside)
            arrays = TrainedModel(aside.path).arrays()
            write_weights(aside.path / "weights.npz", arrays)
            result, facts = records.read_result(aside.result), read_json(aside.data)
            card = model_card(config, result, facts, arrays, shown)
            with aside.card.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(card)
            os.rename(aside.path, target)
    finally:
        shutil.rmtree(aside.path, ignore_errors=True)
    return target
