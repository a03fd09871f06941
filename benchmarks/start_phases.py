"""run.py that writes down when each part of its start has ended, and ends with its first step.

    python -m benchmarks.start_phases FILE [flags of run.py]

`benchmarks.start` runs it, in the root of the checkout that is timed. FILE gets a JSON object, by
part: seconds since $START (of `time.time`), and processor seconds, at its end.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = ("flags", "TensorFlow", "modules", "data", "model", "tracing", "logs", "first step")


def main() -> None:
    """Runs run.py's own program with notes taken between its parts."""
    target = Path(sys.argv.pop(1))
    begun, ends = float(os.environ["START"]), dict[str, tuple[float, float]]()

    def note(part: str) -> None:
        ends.setdefault(part, (time.time() - begun, sum(os.times()[:2])))

    def noted(
        function: Callable, after: str, before: str = "", then: Callable = lambda: None
    ) -> Callable:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if before:
                note(before)
            result = function(*arguments, **options)
            note(after)
            then()
            return result

        return call

    def end() -> None:
        target.write_text(json.dumps(ends), encoding="utf-8")
        os._exit(0)

    sys.path.insert(0, os.getcwd())
    import data
    import run

    make_job = run._JOBS["train"]
    data.load = noted(data.load, "data", before="flags")

    def job() -> Callable[[], int]:
        go = make_job()
        note("flags")

        def train() -> int:
            note("TensorFlow")
            from dvae.runs import commands  # noqa: F401
            from dvae.train_step import TrainProgram as Program

            note("modules")
            Program.__init__ = noted(Program.__init__, "model")
            Program.trace = noted(Program.trace, "tracing")
            Program.run = noted(Program.run, "first step", "logs", end)
            return go()

        return train

    run._JOBS["train"] = job
    run.program()


if __name__ == "__main__":
    main()
