"""Names that a directory can have and that programs stumble over."""

import os

_NOT_TEXT = os.fsdecode(b"\xff")
# Everything that is a pattern, a quote, an escape or no text, in one name.
ODD_NAME = f"-a[1] *?{{b,c}} '\"\\n%41 #ü\n{_NOT_TEXT}."
ODD_NAMES = {
    **{"brackets": "a[1]", "bracket": "a[", "not": "[!a]", "star": "st*r", "question": "q?"},
    **{"backslash": "a\\b", "backslash alone": "\\", "braces": "a{b,c}", "blank": "b c"},
    **{"blank alone": " ", "quotes": "'\"", "newline": "a\nb", "percent": "%41", "umlaut": "ü"},
    **{"wide": "ζ\u3000", "no text": f"a{_NOT_TEXT}", "dash": "-a", "dot": "a.", "dots": "..."},
    **{"hash": "#a", "home": "~", "variable": "$HOME", "colon": "a:b", "long": "x" * 255},
    "all": ODD_NAME,
}
