"""The public names of the package."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

import cmrjax


@pytest.mark.parametrize("name", cmrjax.__all__)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(cmrjax, name)
    assert value is getattr(cmrjax, name)
    if callable(value):
        assert value.__doc__


def test_lazy_names_and_all_agree():
    assert sorted(cmrjax.__all__) == sorted([*cmrjax._MODULE_OF, "__version__"])
    assert set(cmrjax.__all__) <= set(dir(cmrjax))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'cmrjax' has no attribute 'synthesise'"):
        cmrjax.synthesise  # noqa: B018


def test_version_is_the_installed_one():
    assert re.fullmatch(r"\d+\.\d+\.\d+", cmrjax.__version__)
    try:
        installed = importlib.metadata.version("cmrjax")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("cmrjax is not installed, only on the path")
    assert installed == cmrjax.__version__


def test_import_is_fast():
    program = (
        "import time; t = time.perf_counter(); import cmrjax; "
        "print(time.perf_counter() - t)"
    )
    seconds = min(
        float(
            subprocess.run(
                [sys.executable, "-c", program],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for _ in range(3)
    )
    assert seconds < 0.3
