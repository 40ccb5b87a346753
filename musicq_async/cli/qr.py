"""A QR code as text: two modules in each character."""

from __future__ import annotations

import shutil
from typing import Final

from musicq_async.cli.output import is_terminal

QUIET: Final = 2
"""Light modules around the code, without which phones do not find it."""
_LIGHT: Final = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
"""Upper and lower module (``True`` is light) as a character of a light pen on dark ground."""
_COLORS: Final = "\x1b[38;5;231;48;5;16m{}\x1b[0m"
"""White on black, whatever colours the terminal has."""


def picture(text: str) -> str:
    """Draw a text's QR code for a terminal, white on black; where there is none, for a dark background."""
    import segno

    code = segno.make_qr(text, error="l")
    rows = [[not dark for dark in row] for row in code.matrix_iter(border=QUIET)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    lines = [
        "".join(_LIGHT[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    if not is_terminal():
        return "\n".join(lines)
    lines = [_COLORS.format(line) for line in lines]
    missing = len(rows[0]) - shutil.get_terminal_size().columns
    return "\n".join([*lines, f"(make the window {missing} columns wider)"] if missing > 0 else lines)
