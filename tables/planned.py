"""The runs of a table, and whether each is done."""

from pathlib import Path
from typing import NamedTuple

from configs.errors import UserError
from configs.paper import ExperimentConfig
from configs.tables import Setting
from dvae.runs.records import read_json

_FOLLOWS_DATA = "input_size"  # set by run.py once it has read the data


class PlannedRun(NamedTuple):
    """One run of a table: a setting and a seed.

    Attributes:
      config: its configuration.
      arguments: of run.py, without the program itself.
      log_dir: absolute; the run's own directory lies under it.
      start_in: the directory that relative paths among the arguments start from.
    """

    config: ExperimentConfig
    arguments: tuple[str, ...]
    log_dir: Path
    start_in: Path

    @property
    def setting(self) -> Setting:
        """The cell of the table that it belongs to."""
        c = self.config
        return Setting(c.dataset, c.struct, c.k, c.baseline, c.sampler)

    @property
    def directory(self) -> Path:
        """Where the run leaves everything."""
        return self.config.run_directory(self.log_dir)

    @property
    def name(self) -> str:
        """For people: the directory under LOG_DIR."""
        return str(self.directory.relative_to(self.log_dir))

    @property
    def log_path(self) -> Path:
        """The file that receives what the run prints."""
        return self.log_dir / "output" / f"{self.name.replace('/', '_')}.txt"

    def is_finished(self) -> bool:
        """Whether the run has a result, of this configuration.

        Another configuration's result is left for run.py to refuse, which names the difference.
        """
        if not (self.directory / "result.json").exists():
            return False
        wanted = self.config.to_json()
        try:
            found = read_json(self.directory / "config.json")
        except UserError:
            return False
        return all(found.get(name) == wanted[name] for name in wanted if name != _FOLLOWS_DATA)


class Outcome(NamedTuple):
    """How one run ended.

    Attributes:
      status: "finished", "stopped" (it can go on) or "failed".
      message: why it failed, in one line.
      attempts: how often it was started.
    """

    run: PlannedRun
    status: str
    message: str
    attempts: int
