"""Command-line entries: one verb per file, each run with ``python -m``."""
