"""A report as Markdown, CSV, LaTeX and HTML, and text between the markers of another file."""

import csv
import io

import pytest

from configs.errors import UserError
from tables import documents, report
from tables.results import gather, read_tree
from tests.helpers import hand_made_results


def test_files_hold_what_the_document_says(tmp_path):
    changes = dict(device="GPU: <A&B_100%>")
    hand_made_results.write(tmp_path, 85.0, changes)
    hand_made_results.write(tmp_path, 85.5, changes, k=5)
    cells = gather(read_tree(tmp_path).results)
    document, records = report.build_report(cells), report.records(cells)
    page = documents.html(document)
    assert "&lt;A&amp;B_100%&gt;" in page and "<A&B" not in page
    assert all(picture.path in page for picture in document.pictures)
    tex = documents.latex(document)
    assert r"$<$A\&B\_100\%$>$" in tex
    body = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert len({line.count(" & ") for line in body}) == 1 and len(body) == 3
    rows = list(csv.DictReader(io.StringIO(documents.csv_text(records))))
    assert [float(row["test_nll_mean"]) for row in rows] == [85.0, 85.5]
    text = documents.markdown(document)
    assert "| 1-layer-nonlin | 5 |" in text and "![" in text


def test_insertion_needs_its_markers(tmp_path):
    path = tmp_path / "text.md"
    for content in ("none", "<!-- table: end --> <!-- table: begin -->"):
        path.write_text(content)
        with pytest.raises(UserError, match="must hold the lines"):
            documents.insert(path, "x")
        assert path.read_text() == content
