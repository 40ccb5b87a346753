"""What the system tells about itself: hooks, log lines, progress bars. Secrets are taken out here."""

from __future__ import annotations

import logging

logging.getLogger("musicq_async").addHandler(logging.NullHandler())  # a library is silent unless asked
