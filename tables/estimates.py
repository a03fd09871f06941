"""Estimated time of runs on this machine; runs that share a program share the measurement."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping, Sequence

from configs.errors import UserError
from configs.paper import ExperimentConfig
from tables.planned import PlannedRun

_PREFIX = "measured: "


def program_of(config: ExperimentConfig) -> ExperimentConfig:
    """The same for all runs that take the same time: those that differ by their seed alone."""
    return dataclasses.replace(config, seed=0)


def measure(
    run: PlannedRun, program: list[str], environment: Mapping[str, str]
) -> dict[str, float]:
    """What `run.py --mode=time` says of a run. Raises UserError when it fails."""
    done = subprocess.run(
        [*program, *run.arguments, "--mode=time"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=run.start_in,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith(_PREFIX):
        said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"{run.name} could not be timed: {said.removeprefix('error: ')}")
    return json.loads(lines[-1].removeprefix(_PREFIX))


class Estimates:
    """Hours of runs, each distinct program measured once.

    Args:
      program: the command that takes run.py's flags.
      environment: of the slot that a run gets, which ties it to its share of the machine.
    """

    def __init__(self, program: list[str], environment: Mapping[str, str]) -> None:
        self._program, self._environment = program, environment
        self._known: dict[ExperimentConfig, dict[str, float]] = {}

    def hours(self, run: PlannedRun) -> float:
        """Hours of a whole run on its share, with nothing beside it. Raises UserError."""
        key = program_of(run.config)
        if key not in self._known:
            self._known[key] = measure(run, self._program, self._environment)
        return self._known[key]["hours"]


def total_text(hours: Sequence[float], at_once: int) -> str:
    """The sum, and what several at once can make of it at best."""
    total = sum(hours)
    text = f"{len(hours)} runs to do: {total:.2f} h one after another"
    return text + (f", at best {total / at_once:.2f} h with {at_once} at once" if hours else "")
