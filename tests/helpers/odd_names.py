"""Names that a directory can have and that programs stumble over."""

import os

_NOT_TEXT = os.fsdecode(b"\xff")
# Everything that is a pattern, a quote, an escape or no text, in one name.
ODD_NAME = f"-a[1] *?{{b,c}} '\"\\n%41 #ü\n{_NOT_TEXT}."
ODD_NAMES = (
    *("a[1]", "a[", "[!a]", "st*r", "q?", "a\\b", "\\", "a{b,c}", "b c", " ", "'\"", "a\nb", "%41"),
    *("ü", "ζ\u3000", f"a{_NOT_TEXT}", "-a", "a.", "...", "#a", "~", "$HOME", "a:b", "x" * 255),
    ODD_NAME,
)
