"""The pages of measured results are what the kept results give."""

import pytest

from benchmarks import pages

PAGES = ("exactness", "performance", "deviations", "estimators")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every page, made again from its own text and the kept results."""
    folder = tmp_path_factory.mktemp("docs")
    for page in PAGES:
        text = (pages.DOCS / f"{page}.md").read_text()
        before, _, rest = text.partition("<!-- measured: begin -->")
        _, end, after = rest.partition("<!-- measured: end -->")
        kept = f"{before}<!-- measured: begin -->\n{end}{after}"
        (folder / f"{page}.md").write_text(kept)
    for name in ("running.md", "tables.md"):
        (folder / name).write_text((pages.DOCS / name).read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "DOCS", folder)
        pages.main()
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_page_shows_every_kept_result(written, page):
    assert (written / f"{page}.md").read_text() == (pages.DOCS / f"{page}.md").read_text()
    results = pages.read(page)
    assert results
    text = (written / f"{page}.md").read_text()
    if page == "deviations":
        assert all(pages.deviation_section(result) in text for result in results.values())


def test_a_kept_result_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    pages.keep("exactness", "b", {"value": 0.1})
    pages.keep("exactness", "a", {"value": None})
    assert list(pages.read("exactness").items()) == [("a", {"value": None}), ("b", {"value": 0.1})]
