"""The runs of a table, and whether each is done."""

from pathlib import Path
from typing import NamedTuple

from configs.paper import ExperimentConfig
from configs.tables import Setting


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
        return Setting(c.dataset, c.struct, c.k, c.baseline, c.population_annealing)

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
        """Whether the run has a result."""
        return (self.directory / "result.json").exists()


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
