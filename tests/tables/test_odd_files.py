"""Odd files in a tree of results: each is named with its reason, and the rest is reported."""

import csv
import functools
import io
import json
import math
import os
import shlex
from types import SimpleNamespace

import pytest

from configs.errors import UserError
from configs.experiment import build_config
from configs.tables import Setting
from dvae.runs.json_files import digest
from tables import documents, driver, report
from tables.documents import Document, Picture, Table
from tables.protocol import commands_for, protocol_of
from tables.results import gather, read_tree
from tables.runs import Outcome
from tests.helpers import stand_in_table
from tests.helpers.damaged_files import no_hang
from tests.helpers.hand_made_results import png, record_of, write, write_finished
from tests.helpers.works import works

HUGE = 10**400


def _json(**changes):
    """Changes fields of a JSON file; a name may say "outer__inner"."""

    def change(path):
        record = json.loads(path.read_text())
        for name, value in changes.items():
            *outer, last = name.split("__")
            functools.reduce(dict.__getitem__, outer, record)[last] = value
        record.pop("checksum")
        # Whoever made it so can have made the checksum, too.
        path.write_text(json.dumps({**record, "checksum": digest(record)}))

    return change


def _bytes(content):
    return lambda path: path.write_bytes(content)


def _instead(make):
    def change(path):
        path.unlink()
        make(path)

    return change


_ANY = {
    "odd bytes": _bytes(b"\xff\xfe\x00\x80"),
    "empty": _bytes(b""),
    "deep": _bytes(b"[" * 200_000),
    "pipe": _instead(os.mkfifo),
    "endless": _instead(lambda path: path.symlink_to("/dev/zero")),
    "directory": _instead(lambda path: path.mkdir()),
}
_FIELDS = {
    "result.json": [
        *(("device", ["a", "b"]), ("device", {}), ("code", "c0ffee"), ("earlier_code", [7])),
        *(("protocol__checkpoint", ["best"]), ("protocol__num_test_images", {}), ("protocol", [])),
        *(("protocol__data", 7), ("protocol__data_sha256", 7), ("nll_interval__log_z", "ab")),
        *(("nll_interval__log_z", []), ("device", "\ud800"), ("device", "a\0b"), ("seed", HUGE)),
        *(("ms_per_step", HUGE), ("ms_per_step", "36"), ("seed", True), ("test_nll", math.inf)),
    ],
    "config.json": [
        *(("base_lr", HUGE), ("base_lr", math.inf), ("k", HUGE), ("dataset", "a\0.npz")),
        *(("dataset", "\ud800.npz"), ("dataset", "\x1b[2J.npz"), ("struct", ["1-layer-nonlin"])),
        ("structure__encoder", {}),
    ],
}
_NOT_COUNTED = {
    file: _ANY | {f"{name} {i}": _json(**{name: value}) for i, (name, value) in enumerate(fields)}
    for file, fields in _FIELDS.items()
}
_NOT_COUNTED["config.json"]["missing"] = _bytes(b"{}")
_NOT_COUNTED["result.json"] |= {"torn": _bytes(b"{"), "lacking": _bytes(b'{"test_nll": 3.0}')}
_NOT_SHOWN = {
    "metrics.jsonl": {name: _ANY[name] for name in ("pipe", "endless", "directory")},
    "samples.png": {
        **_ANY,
        "text": _bytes(b"no picture"),
        "cut": _bytes(png(rows=b"")),
        "giant": _bytes(png(60_000, 60_000, bytes(100_000))),
        "lies": _bytes(png(4, 400, bytes(4))),
    },
}
# Lines of metrics.jsonl that give no point; the curves of the run go on without them.
_LINES = [
    *("7", "null", '"text"', "[]", '["step"]', "[" * 100_000, '{"train/neg_elbo": 1.0}', "{"),
    *('{"step": "1", "train/neg_elbo": 1.0}', '{"step": 1, "train/neg_elbo": "1"}'),
    *('{"step": [1], "train/neg_elbo": 1.0}', '{"step": 1, "train/neg_elbo": null}'),
    f'{{"step": {HUGE}, "train/neg_elbo": 1.0}}',
    f'{{"step": 1, "train/neg_elbo": {HUGE}}}',
    *('{"step": 1, "train/neg_elbo": NaN}', '{"step": 1, "val/neg_ll": -Infinity}'),
    *('{"step": 1, "val/neg_ll": 1e400}', '{"step": true, "val/neg_ll": true}'),
]


def _spoiled(tree, name, kinds, field):
    """A tree with a sound run and one for each kind of damage, with its number in `field`."""
    write(tree / "sound", 85.0)
    found = {}
    for number, (kind, change) in enumerate(kinds.items(), start=1):
        found[kind] = write(tree / kind.replace(" ", "_"), 85.0 + number, **{field: number})
        change(found[kind] / name)
    return found


@pytest.mark.parametrize("name", _NOT_COUNTED)
def test_damaged_results_are_listed_and_the_rest_goes_on(tmp_path, name):
    spoiled = _spoiled(tmp_path, name, _NOT_COUNTED[name], "seed")
    moved = write(tmp_path, 70.0, seed=9)  # set aside by --fresh: no result, and no problem
    moved.rename(moved.with_name(f"{moved.name}.old-20260101-000000"))
    with works(UserError), no_hang(60):
        document = driver.write_report(tmp_path, tmp_path)
    [row] = csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text()))
    assert (row["seeds"], float(row["test_nll_mean"])) == ("0", 85.0)
    [table] = [table for table in document.tables if table.title == "Not counted"]
    for kind, directory in spoiled.items():
        lines = [line for [line] in table.rows if f"{directory.relative_to(tmp_path)}/" in line]
        assert len(lines) == 1 and lines[0].isprintable() and len(lines[0]) < 700, (kind, lines)
    assert len(table.rows) == len(spoiled)


@pytest.mark.parametrize("name", _NOT_SHOWN)
def test_what_cannot_be_drawn_is_listed_at_each_report(tmp_path, name):
    """Each in a cell of its own: the runs count, and all pictures are drawn."""
    kinds = _NOT_SHOWN[name]
    spoiled = _spoiled(tmp_path, name, kinds, "num_train_iter")
    for _ in range(2):
        with no_hang(60):
            document = driver.write_report(tmp_path, tmp_path)
        assert len(document.pictures) == len(spoiled) + 1
        assert all((tmp_path / picture.path).is_file() for picture in document.pictures)
        [table] = [table for table in document.tables if table.title == "Not shown"]
        for directory in spoiled.values():
            path = directory.relative_to(tmp_path) / name
            assert sum(line.startswith(f"{path}: ") for [line] in table.rows) == 1


def test_odd_lines_of_metrics_leave_the_curve(tmp_path, monkeypatch):
    from matplotlib import axes

    directory = write(tmp_path, 85.0)
    whole = (directory / "metrics.jsonl").read_text()
    odd = "\n".join(_LINES).encode() + b"\n\xff\xfe\n"
    (directory / "metrics.jsonl").write_bytes(odd + whole.encode())
    drawn, plot = [], axes.Axes.plot

    def note(self, *arguments, **options):
        drawn.append(tuple(map(list, arguments)))
        return plot(self, *arguments, **options)

    monkeypatch.setattr(axes.Axes, "plot", note)
    with no_hang(60):
        driver.write_report(tmp_path, tmp_path)
    assert drawn == [([1, 2], [9.0, 7.0]), ([2], [8.0])]


def test_a_running_table_goes_on(tmp_path):
    """A bad run beside it, found at each report; the table itself ends as it should."""
    runs = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    bad = write(tmp_path, 85.0, k=5)
    (bad / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    worse = write(tmp_path, 85.0, dict(device=[1]), seed=8)
    (worse / "metrics.jsonl").write_bytes(b"\xff")

    def outcomes(runs, stop):
        for run in runs:
            write_finished(run.directory, run.config, record_of(run.config, 90.0))
            yield Outcome(run, "finished", "", 1)

    said, executor = [], SimpleNamespace(describe=lambda: "", outcomes=outcomes)
    assert driver.run_missing(runs, executor, tmp_path, tmp_path, said.append) == 0
    assert not any("no report" in line for line in said)
    text = (tmp_path / "report.md").read_text()
    assert "Not counted" in text and "Not shown" in text and "Not finished" not in text


ODD = "a|b`c` <img src=x> [l](http://evil) $x^{$ &lt; <!-- table: end --> =1 www.evil.org"


def _table(cell):
    return Document("T", (), (Table(cell, (cell,), ("h", cell), ((cell, "1"),)),))


def test_markdown_shows_names_as_they_are(tmp_path):
    """No markup of theirs is left: every special character is escaped or an entity."""
    for text in (
        documents.markdown(_table(ODD + "\x1b[2J\n# h")),
        documents.markdown_tables(_table(ODD)),
    ):
        assert "<" not in text.replace("&lt;", "") and "://" not in text and "www." not in text
        lines = [line for line in text.splitlines() if "evil" in line]
        assert len(lines) == 4  # title, note, header, row
        for line in lines:
            bare = line.replace("\\\\", "")
            assert not any(f"{c}" in bare.replace(f"\\{c}", "") for c in "`[]$")
            assert "&amp;lt;" in bare and "\x1b" not in bare
        cells = [line.replace("\\|", "").count("|") for line in lines[-2:]]
        assert cells == [3, 3]
    target = tmp_path / "README.md"
    target.write_text("<!-- table: begin -->\n<!-- table: end -->\nafter\n")
    for _ in range(2):
        documents.insert(target, documents.markdown_tables(_table(ODD)))
    assert target.read_text().endswith("after\n")


def test_ordinary_cells_stay_readable():
    rows = documents.markdown(_table("dvaes_power, k=1: 93.50 ± 0.02, p < 0.001")).splitlines()
    assert "| dvaes_power, k=1: 93.50 ± 0.02, p < 0.001 | 1 |" in rows


def test_a_cell_of_a_spreadsheet_is_no_formula():
    cells = ["=1+1", "+cmd|' /C calc'!A0", "-1+A1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"]
    plain = ["-83.5", "-1.5 -2.5", "a=b", "dvaes_power", "1e-5", "+0.12"]
    text = documents.csv_text([{"name": cell, "value": -1.5} for cell in cells + plain])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert not any(row["name"].lstrip(" ").startswith(tuple("=+-@＝\t\r")) for row in rows[:8])
    assert [row["name"] for row in rows[len(cells) :]] == plain
    assert {row["value"] for row in rows} == {"-1.5"}


def test_latex_takes_no_name_for_an_argument():
    tex = documents.latex(_table("[x] * \n\\input{y}"))
    assert "\\input{y}" not in tex
    assert all(not line.startswith(("[", "*")) for line in tex.splitlines())


def test_commands_survive_a_shell():
    config = build_config(dataset="x.npz", struct="1-layer-nonlin")
    protocol = protocol_of(config, record_of(config, 85.0)["protocol"])
    for name in ("a; rm -rf ~.npz", "$(id)`id`.npz", "it's.npz", 'a"b,c.npz', "* ?.npz"):
        setting = Setting(name, "1-layer-nonlin", 1, "dvaes_power", "pa")
        [command] = commands_for(name, protocol, [(setting, (0, 1))])
        words = shlex.split(command)
        given = next(word for word in words if word.startswith("--datasets="))
        [found] = next(csv.reader([given.removeprefix("--datasets=")]))
        assert found == name and "--seeds=0,1" in words


def test_pictures_of_odd_names(tmp_path):
    """Characters that end a link or begin a formula, and more than the name of a file may have."""
    for number, name in enumerate(("a) b [c](d) $x^{$ #?.npz", "é" * 110 + ".npz", "日本.npz")):
        sha = f"{number}" * 64
        write(tmp_path, 85.0 + number, dict(sha=sha), dataset=name)
    document = driver.write_report(tmp_path, tmp_path)
    assert len({picture.path for picture in document.pictures}) == 3
    text = (tmp_path / "report.md").read_text()
    for picture in document.pictures:
        assert (tmp_path / picture.path).is_file() and picture.path.isascii()
        assert f"]({picture.path})" in text
    html = documents.html(Document("T", (), (), (Picture("t", "plots/a b#.png"),)))
    assert 'src="plots/a%20b%23.png"' in html
    assert len(report.records(gather(read_tree(tmp_path).results))) == 3
