"""Writes docs/tutorial.md and its pictures from examples/tour.ipynb as it was last executed.

python -m docs.from_notebook
"""

import base64
import json
from pathlib import Path
from typing import Any

from tables.documents import write_text

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
IMAGES = ROOT / "docs" / "images"


def _shown(outputs: list[dict[str, Any]], picture: str) -> tuple[str, bytes | None]:
    """What a cell printed, and the picture that it drew, as text and as a file's content."""
    text = "".join("".join(output.get("text", "")) for output in outputs)
    text = f"\n```text\n{text.strip()}\n```\n" if text.strip() else ""
    for output in outputs:
        if data := output.get("data", {}).get("image/png"):
            return f"{text}\n![{picture}](images/{picture}.png)\n", base64.b64decode(data)
    return text, None


def tutorial() -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures by their names."""
    parts, pictures = [], {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(f"{source}\n")
            continue
        name = f"tutorial-{len(pictures) + 1}"
        text, picture = _shown(cell["outputs"], name)
        source = source.removesuffix(";")  # which a notebook needs to show no more than a picture
        parts.append(f"```python\n{source}\n```\n{text}")
        if picture:
            pictures[name] = picture
    return "\n".join(parts), pictures


def main() -> None:
    """Writes page and pictures."""
    text, pictures = tutorial()
    write_text(ROOT / "docs" / "tutorial.md", text)
    for name, picture in pictures.items():
        (IMAGES / f"{name}.png").write_bytes(picture)


if __name__ == "__main__":
    main()
