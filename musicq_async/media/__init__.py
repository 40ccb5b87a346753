"""Files of music: their names, transfer, conversion and tags."""
