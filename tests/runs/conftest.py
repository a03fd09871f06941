"""run.py in this process."""

import pytest
from absl import flags

import run
from configs import command_line
from tests.helpers.damaged_files import no_hang


@pytest.fixture
def program(capsys):
    """run.py, perhaps with other work: exit code, stdout, stderr."""

    def program(*arguments, main=run.main):
        saved = flags.FLAGS.flag_values_dict()
        flags.FLAGS.unparse_flags()
        try:
            with no_hang(120), pytest.raises(SystemExit) as stop:
                command_line.parse(["run.py", "--compile_cache=", *arguments])
                command_line.guarded(main)
        finally:
            flags.FLAGS.unparse_flags()
            for name, value in saved.items():
                flags.FLAGS[name].value, flags.FLAGS[name].present = value, 0
            flags.FLAGS.mark_as_parsed()
        return stop.value.code, *capsys.readouterr()

    return program


@pytest.fixture
def fails(program):
    """Wants code 2 and one line, without a traceback; returns it."""

    def fails(*arguments, **options):
        code, out, err = program(*arguments, **options)
        assert code == 2 and "Traceback" not in out + err
        lines = err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ") and len(lines[0]) < 1000
        return lines[0]

    return fails
