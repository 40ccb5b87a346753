"""What runs handlers and schedules: it knows the ports and the model, and no backend."""

from __future__ import annotations
