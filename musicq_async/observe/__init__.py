"""What the system tells about itself: hooks, log lines, progress bars. Secrets are taken out here."""
