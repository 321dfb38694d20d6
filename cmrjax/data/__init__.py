"""From NIfTI files to batches: reading, preparation, prepared arrays, Grain.

Nothing is imported here, so that ``import cmrjax.data`` stays light and a module
that needs only NumPy (geometry, intensity) does not pull nibabel or Grain.
"""
