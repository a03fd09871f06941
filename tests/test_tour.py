"""examples/tour.ipynb runs from its first cell to its last, and its numbers are what it says."""

import re
from pathlib import Path

import pytest

from docs import from_notebook

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "examples" / "tour.ipynb"


def _printed(notebook, start):
    """The line of a cell's output that starts so."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    lines = [line for output in outputs for line in output.get("text", "").splitlines()]
    return next(line for line in lines if line.startswith(start))


def test_the_stored_notebook_was_executed_and_is_small():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(TOUR, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert "error" not in kinds and kinds.count("display_data") >= 6
    assert TOUR.stat().st_size < 400_000
    text = TOUR.read_text()
    assert str(ROOT) not in text and "/root" not in text and "WARNING" not in text


def test_the_tutorial_page_shows_the_stored_notebook():
    text, pictures = from_notebook.tutorial()
    assert (ROOT / "docs" / "tutorial.md").read_text() == text
    for name, content in pictures.items():
        assert (from_notebook.IMAGES / f"{name}.png").read_bytes() == content


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(TOUR, as_version=4)
    stored = nbformat.read(TOUR, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()

    enumerated = float(_printed(notebook, "enumerated here:").split()[-1])
    value = _printed(notebook, "LogPartitionValue(value=")
    assert "status='exact'" in value
    assert float(value.split("value=")[1].split(",")[0]) == pytest.approx(enumerated, abs=1e-4)
    nll = [float(_printed(n, "test NLL").split()[2]) for n in (notebook, stored)]
    assert abs(nll[0] - nll[1]) < 0.5  # another machine rounds otherwise
    best = re.search(r"\(step (\d+)\)", _printed(notebook, "final evaluation of the best"))[1]
    assert _printed(notebook, f"{best} ") == f"{best} True"
