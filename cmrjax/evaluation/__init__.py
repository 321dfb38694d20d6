"""Judging models: figures, reports, the class-mean floor and the image study."""
