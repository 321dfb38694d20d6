"""Configurations: one file, one run; all defaults stand in base.py."""
