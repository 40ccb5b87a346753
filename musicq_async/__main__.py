"""``python -m musicq_async`` and the console script ``musicq``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line with the process's arguments; return the exit code."""
    try:
        from musicq_async.cli import main as run  # noqa: PLC0415 - Ctrl-C counts while this is loaded, too

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
