"""The wheel: what it holds, and that it synthesises where nothing of the tree is.

`make test-wheel` runs this. The wheel goes into a fresh environment in another folder,
which takes its dependencies from the environment of the tests, so that nothing is
downloaded, and in which what the extras bring cannot be imported.
"""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import tomllib
import venv
import zipfile
from email.parser import HeaderParser

import pytest

import cmrjax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("cmrjax", "experiments", "tools")
# What the extras of pyproject.toml bring, by the name that is imported.
EXTRAS = (
    *("grain", "clu", "tensorboard", "tensorflow", "ml_collections"),
    *("matplotlib", "PIL", "safetensors", "h5py", "torch", "pdoc", "pytest"),
)
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
SMOKE = """
import importlib.metadata, importlib.resources, json
import cmrjax, experiments, tools
import numpy as np

files = importlib.resources.files("cmrjax")
params = cmrjax.init_params(num_classes=4, image_size=32, base_features=1)
labels = np.kron(np.array([[0, 1], [2, 3]]), np.ones((16, 20), int))
image = cmrjax.synthesize(labels, params)
print(json.dumps({
    "files": [m.__file__ for m in (cmrjax, experiments, tools)],
    "version": [cmrjax.__version__, importlib.metadata.version("cmrjax")],
    "split": (files / "data" / "splits" / "mnms.csv").read_text().count("\\n"),
    "typed": (files / "py.typed").is_file(),
    "shape": image.shape,
    "finite": bool(np.isfinite(image).all() and abs(image).max() <= 1),
}))
"""

pytestmark = pytest.mark.slow


def _run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that holds wheel and sdist; its name has spaces."""
    out = tmp_path_factory.mktemp("where it is built")
    options = ["--no-isolation", f"--outdir={out}"]
    _run(sys.executable, "-m", "build", *options, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Python of a fresh environment that holds the wheel, and nothing of the tree."""
    folder = tmp_path_factory.mktemp("a fresh environment")
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(folder)
    python = folder / "bin" / "python"
    options = ["--no-index", "--no-deps", "--ignore-installed", "--no-compile"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    _run(*pip, "--python", python, "install", *options, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "no_extras.py").write_text(BLOCKER)
    # Editable installs of that environment are files .pth too, which are not read here.
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [*sorted(ours), "import no_extras"]
    (packages / "dependencies.pth").write_text("\n".join(lines) + "\n")
    return python


def _sources():
    """Everything that belongs into the wheel, besides its metadata."""
    found = {p for name in PACKAGES for p in (ROOT / name).rglob("*.py")}
    found |= set((ROOT / "cmrjax" / "data" / "splits").glob("*.csv"))
    found.add(ROOT / "cmrjax" / "py.typed")
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == _sources()
    assert any(name.endswith("licenses/LICENSE") for name in metadata)
    assert wheel.stat().st_size < 1_000_000


def test_sdist_holds_what_the_wheel_is_built_of(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [m.name for m in archive.getmembers() if m.isfile()]
    names = {name.partition("/")[2] for name in files}
    names = {name for name in names if not name.startswith("cmrjax.egg-info/")}
    beside = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names - {"setup.cfg"} == _sources() | beside


def test_metadata_is_that_of_pyproject(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == cmrjax.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = metadata.get_all("Requires-Dist", [])
    base = [line for line in needed if "extra ==" not in line]
    assert len(base) == len(project["dependencies"])
    assert set(metadata.get_all("Provides-Extra", [])) == set(
        project["optional-dependencies"]
    )


def test_installed_wheel_synthesises_without_the_tree_and_the_extras(installed):
    folder = installed.parents[1]
    found = json.loads(_run(installed, "-c", textwrap.dedent(SMOKE), cwd=folder))
    for file in found["files"]:
        assert pathlib.Path(file).is_relative_to(folder)
    assert found["version"] == [cmrjax.__version__] * 2
    committed = ROOT / "cmrjax" / "data" / "splits" / "mnms.csv"
    assert found["split"] == committed.read_text().count("\n")
    assert found["typed"]
    assert found["shape"] == [32, 40]
    assert found["finite"]


@pytest.mark.parametrize(
    "module", ["experiments.synthesize", "experiments.simulate", "tools.export_model"]
)
def test_commands_of_the_base_install_start(installed, module):
    text = _run(installed, "-m", module, "--help", cwd=installed.parents[1])
    assert f"python -m {module}" in text


def test_what_the_extras_bring_is_out_of_reach(installed):
    program = "import importlib.util as u; u.find_spec('grain')"
    with pytest.raises(AssertionError, match="No module named 'grain'"):
        _run(installed, "-c", program, cwd=installed.parents[1])
