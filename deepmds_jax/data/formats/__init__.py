"""File formats: those of other programs, read safely, and ours, written whole or not at all."""
