"""The table of settings: the only place that says what can be asked for, and of which mode."""

from pathlib import Path

import pytest

from configs.setting import markdown_of
from configs.settings import SETTINGS
from configs.table_settings import TABLE_SETTINGS

ROOT = Path(__file__).parents[2]


def _between(path, name):
    _, _, rest = path.read_text().partition(f"<!-- {name}: begin -->\n\n")
    return rest.partition(f"\n<!-- {name}: end -->")[0]


@pytest.mark.parametrize(
    ("page", "settings", "modes"),
    [("docs/running.md", SETTINGS, "modes"), ("docs/tables.md", TABLE_SETTINGS, "ways of working")],
)
def test_pages_list_every_flag(page, settings, modes):
    """As `python -m benchmarks.pages` writes them."""
    assert _between(ROOT / page, "flags") == markdown_of(settings.values(), modes)
