"""Simulated cardiac MR: an analytic torso, bSSFP contrast, a virtual scanner."""
