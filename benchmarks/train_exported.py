"""Trains a run's exported program on a machine without TensorFlow: see `gpu_training`.

Needs NumPy, `data/batches.py`, and something that calls the program. What it leaves in OUT:
NAME.state.npz, which is replaced as a whole every half minute, so that a kill costs no more than
that, and NAME.models-0.npz, ..., with the models on the way.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

SAVE_SECONDS = 30.0
PACK_BYTES = 14 * 2**20  # of models in a file, so that none is larger than 16 MiB

# Calls a program: takes its arguments and what the host does meanwhile; gives the arguments of the
# next call, and what that returned.
Caller = Callable[[list, Callable[[], Any]], tuple[list, Any]]


class Limit:
    """When to stop: some seconds after this was made, or when a signal asks for it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def reached(self, needed: float = 0.0) -> bool:
        """Whether work of so many seconds would come too late."""
        return self._asked or time.monotonic() + needed >= self._end


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Replaces a file as a whole."""
    aside = path.with_name(f".{path.name}")
    with aside.open("wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote; nothing when there is no file."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


class Hop:
    """One use of a machine by one run.

    Args:
      out: where it is kept how far it came; what is there already is gone on with.
      name: of the job.
      plan: what `gpu_training.export` wrote: which argument of the program is what, and the steps.
      arguments: of the program, at the run's checkpoint.
      device: its name.
    """

    def __init__(
        self, out: Path, name: str, plan: dict[str, Any], arguments: list, device: str
    ) -> None:
        self._out, self._name, self._plan = out, name, plan
        self._arguments, self._device = arguments, device
        self._path = out / f"{name}.state.npz"
        self.facts = {"id": plan["id"], "step": plan["first"], "devices": {}}
        self.facts |= {"seconds": 0.0, "timed_steps": 0}
        found = read_arrays(self._path)
        if found:
            self.facts = json.loads(str(found["facts"]))
            if self.facts["id"] != plan["id"]:
                raise ValueError(
                    f"{self._path} is of another run or checkpoint: choose another OUT"
                )
            for key, place in plan["state"].items():
                self._arguments[place] = found[key]
        self._saved_at, self._save_seconds = time.monotonic(), 0.0

    @property
    def step(self) -> int:
        """How far the run has come."""
        return self.facts["step"]

    def train(self, call: Caller, limit: Limit) -> None:
        """Goes on to the last step, or until the limit, and keeps where that is.

        Raises:
          ArithmeticError: the numbers stay bad.
        """
        plan, seconds, rows = self._plan, None, self._rows(self.step)
        while self.step < plan["last"]:
            if limit.reached(2.0 * ((seconds or 0.0) + self._save_seconds)):
                break
            size = self._steps_to_boundary()
            if self.step % plan["summary_every"] == 0:  # a summary would have taken them
                zeros = {i: np.zeros_like(self._arguments[i]) for i in plan["sums"]}
                self._arguments = [zeros.get(i, a) for i, a in enumerate(self._arguments)]
            self._arguments[plan["rows"]] = rows
            self._arguments[plan["count"]] = np.int32(size)
            start, following = time.perf_counter(), self.step + size
            self._arguments, rows = call(self._arguments, lambda step=following: self._rows(step))
            if seconds is not None:  # the first call may hold some of the compiler's time
                self.facts["seconds"] += time.perf_counter() - start
                self.facts["timed_steps"] += size
            seconds = time.perf_counter() - start
            self._count(size)
            self._check_numbers()
            if self.step % plan["model_every"] == 0:
                self._keep_model()
                self._save()
            elif time.monotonic() > self._saved_at + SAVE_SECONDS:
                self._save()
        self._save()

    def _steps_to_boundary(self) -> int:
        plan, step = self._plan, self.step
        ends = [plan["last"]]
        ends += [(step // plan[n] + 1) * plan[n] for n in ("summary_every", "model_every")]
        return min(min(ends) - step, plan["per_call"])

    def _rows(self, step: int) -> np.ndarray:
        """Indices of the images of a call's steps; past the last step they are not used."""
        from data.batches import batch_indices

        plan = self._plan
        shape = plan["num_images"], plan["batch_size"], plan["seed"]
        return batch_indices(*shape, step, plan["per_call"])

    def _count(self, steps: int) -> None:
        devices = self.facts["devices"]
        devices[self._device] = devices.get(self._device, 0) + steps
        self.facts["step"] += steps

    def _check_numbers(self) -> None:
        place, index = self._plan["bad_in_a_row"]
        in_a_row = int(np.asarray(self._arguments[place])[index])
        if in_a_row >= self._plan["most_bad"]:
            raise ArithmeticError(f"step {self.step}: {in_a_row} updates in a row were not finite")

    def _named(self, names: list[str]) -> dict[str, np.ndarray]:
        return {name: np.asarray(self._arguments[self._plan["state"][name]]) for name in names}

    def _keep_model(self) -> None:
        plan = self._plan
        model = self._named(plan["model"])
        in_a_pack = max(1, PACK_BYTES // sum(array.nbytes for array in model.values()))
        index = self.step // plan["model_every"] - plan["first"] // plan["model_every"] - 1
        path = self._out / f"{self._name}.models-{index // in_a_pack}.npz"
        found = read_arrays(path) | {f"{self.step}/{name}": a for name, a in model.items()}
        write_arrays(path, found)

    def _save(self) -> None:
        start = time.monotonic()
        state = self._named(list(self._plan["state"]))
        write_arrays(self._path, {"facts": np.array(json.dumps(self.facts)), **state})
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - start
