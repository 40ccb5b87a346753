"""``python -m musicq_async`` and the console script ``musicq``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line with the process's arguments; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))  # quiet, while all the rest is loaded, too
    from musicq_async.cli import main as run  # noqa: PLC0415

    return run()


if __name__ == "__main__":
    sys.exit(main())
