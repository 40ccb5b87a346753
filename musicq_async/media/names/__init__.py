"""Song names: file names taken apart and written, video titles understood."""
