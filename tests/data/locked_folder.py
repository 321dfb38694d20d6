"""A folder that cannot be read, for whoever runs the tests (root may read all)."""

import errno
import os
from pathlib import Path

import pytest


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes listing a folder fail as it does without permission."""
    listed = os.scandir

    def scandir(path):
        if Path(os.fspath(path)) == folder:
            code = errno.EACCES
            raise PermissionError(code, os.strerror(code), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
