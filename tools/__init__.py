"""Commands for maintainers and users: python -m tools.NAME."""
