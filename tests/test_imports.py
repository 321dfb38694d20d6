"""What importing costs, and that imports inside the package go one way.

labels <- data, simulation, models, losses, metrics <- training, synthesis, segmentation
<- evaluation <- experiments.
"""

import ast
import functools
import importlib.util
import pathlib
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A module imports from its own layer (its own folder only) and from lower layers.
LAYERS = {
    "files": 0,
    "array_files": 0,
    "labels": 0,
    "output_folder": 0,
    "folder_lock": 0,
    "data": 1,
    "simulation": 1,
    "models": 1,
    "losses": 1,
    "metrics": 1,
    "training": 2,
    "synthesis": 2,
    "segmentation": 2,
    "evaluation": 3,
}
HEAVY = (
    *("jax", "tensorflow", "tensorflow_datasets", "torch", "nibabel", "grain", "clu"),
    *("matplotlib", "scipy"),
)
# The exceptions inside a layer, from and to.
SIDEWAYS = {
    ("files", "output_folder"),  # a folder is checked before it is replaced
    ("array_files", "files"),
    ("folder_lock", "output_folder"),  # likewise
    ("synthesis", "training"),  # parameters come from its Orbax checkpoints
    ("segmentation", "training"),  # likewise
    ("simulation", "data"),  # phantoms are resampled as real labels are
}
NETWORKS = ("models", "losses", "metrics")
STEPS = (
    "state",
    "optimizer",
    "gan_step",
    "gan_trainer",
    "sharding",
    "compiled_step",
    "warp",
    "augmentation",
    "plateau",
    "segmentation_step",
    "segmentation_trainer",
)
NETWORKS_FORBID = ("grain", "clu", "tensorflow_datasets", "nibabel", "ml_collections")
NEVER_AT_MODULE_LEVEL = ("torch", "tensorflow", "matplotlib", "experiments", "tools")
# The only files that may import these packages, and where in the file.
ONLY_IN = {
    "orbax": {"cmrjax/training/checkpoint.py"},
    "torch": {
        "tools/fuzz_seeds.py",  # writes small .pth files to damage
        "tools/torch_reference.py",
        "tools/weight_files.py",
    },
    "tensorflow": set(),
    "grain": {"cmrjax/data/pipeline.py"},
    "nibabel": {
        "cmrjax/data/label_grid.py",
        "cmrjax/data/nifti.py",
        "cmrjax/data/nifti_bytes.py",
        "tools/fuzz_formats.py",  # these two write small files to damage
        "tools/fuzz_seeds.py",
    },
    "jax._src": {"cmrjax/training/processes.py"},
    "jax.distributed": {"cmrjax/training/processes.py"},
    "tensorflow_datasets": {
        "cmrjax/data/tfds_builder.py",  # only who writes a TFDS data set imports it
        "cmrjax/data/tfds_reader.py",
    },
    "clu": {"cmrjax/training/writers.py"},
}


def _loaded_by(program: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a fresh interpreter has loaded after running `program`."""
    report = f"import sys; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@functools.cache
def _imports(path: pathlib.Path, *, module_level: bool = False) -> set[str]:
    """Dotted names that a file imports, those under TYPE_CHECKING left out."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the absolute import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        elif not (module_level and isinstance(node, ast.FunctionDef | ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return found


def _is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _violations(root: pathlib.Path) -> list[str]:
    """Imports under root/cmrjax against the one-way rule, one line each."""
    lines = []
    for path in sorted((root / "cmrjax").rglob("*.py")):
        parts = path.relative_to(root / "cmrjax").with_suffix("").parts
        here = path.relative_to(root).as_posix()
        for name in sorted(_imports(path)):
            if name.split(".")[0] in ("experiments", "tests", "tools"):
                lines.append(f"{here} imports {name}")
            if name == "cmrjax":
                lines.append(f"{here} imports cmrjax: name the module that it needs")
            if not name.startswith("cmrjax.") or parts == ("__init__",):
                continue
            target = name.split(".")[1]
            if target == "__version__":
                continue
            if parts[0] not in LAYERS or target not in LAYERS:
                unknown = parts[0] if parts[0] not in LAYERS else target
                lines.append(f"{here}: give {unknown} a layer in this test")
            elif target == parts[0] or (parts[0], target) in SIDEWAYS:
                continue
            elif LAYERS[target] >= LAYERS[parts[0]]:
                lines.append(f"{here} imports {name}, which is not below it")
    return lines


def _python_files() -> list[pathlib.Path]:
    return [
        path
        for folder in ("cmrjax", "experiments", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_import_cmrjax_is_light():
    assert _loaded_by("import cmrjax", HEAVY) == []


def test_reading_a_volume_needs_no_network_package():
    loaded = _loaded_by("import cmrjax; cmrjax.read_volume, cmrjax.CAVITY", HEAVY)
    assert "nibabel" in loaded
    assert not {"jax", "tensorflow", "torch", "grain", "clu"} & set(loaded)


def test_synthesis_needs_no_training_package():
    program = "import cmrjax; cmrjax.synthesize, cmrjax.load_params, cmrjax.init_params"
    absent = ("tensorflow", "torch", "grain", "clu", "matplotlib", "ml_collections")
    assert _loaded_by(program, absent) == []


def test_the_check_of_loaded_modules_can_fail():
    assert _loaded_by("import cmrjax, json, jax", ("json", "jax", "grain")) == [
        "json",
        "jax",
    ]


def test_labels_need_numpy_only():
    assert _loaded_by("import cmrjax.labels", HEAVY) == []


def test_networks_losses_metrics_and_steps_load_no_data_or_training_package():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in NETWORKS
        for path in sorted((ROOT / "cmrjax" / folder).glob("*.py"))
        if path.stem != "__init__"
    ]
    modules += [f"cmrjax.training.{name}" for name in STEPS]
    program = "\n".join(f"import {module}" for module in modules)
    assert _loaded_by(program, NETWORKS_FORBID) == []


def test_data_and_training_need_no_tfds():
    modules = [
        f"cmrjax.data.{path.stem}"
        for path in sorted((ROOT / "cmrjax" / "data").glob("*.py"))
        if path.stem not in ("__init__", "tfds_builder")
    ]
    modules += ["experiments.gan_data", "experiments.segmentation_data"]
    modules += ["tools.export_tfds"]
    program = "\n".join(f"import {module}" for module in modules)
    assert _loaded_by(program, ("tensorflow_datasets", "tensorflow")) == []


def test_imports_go_one_way():
    assert _violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "statement", "expected"),
    [
        ("models/a.py", "from cmrjax.training import loop", "not below it"),
        ("models/a.py", "import cmrjax.losses.adversarial", "not below it"),
        ("labels.py", "from cmrjax.data import nifti", "not below it"),
        ("labels.py", "from cmrjax import files", "not below it"),
        ("training/a.py", "from cmrjax.synthesis import params", "not below it"),
        ("training/a.py", "def f():\n    import experiments.demo", "experiments.demo"),
        ("data/a.py", "import cmrjax", "name the module that it needs"),
        ("data/a.py", "from cmrjax import __version__", None),
        ("novel/a.py", "from cmrjax import labels", "give novel a layer"),
        ("evaluation/a.py", "from cmrjax.synthesis import sample", None),
        ("data/a.py", "from cmrjax.data.records import SubjectRecord", None),
    ],
)
def test_the_one_way_check_can_fail(tmp_path, file, statement, expected):
    path = tmp_path / "cmrjax" / file
    path.parent.mkdir(parents=True)
    path.write_text(statement + "\n")
    lines = _violations(tmp_path)
    if expected is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert expected in lines[0]


def test_type_checking_and_function_level_imports_are_told_apart(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        textwrap.dedent(
            """
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                import torch
            else:
                import json
            class A:
                import numpy
                def f(self):
                    import tensorflow
            """
        )
    )
    assert _imports(path, module_level=True) == {
        "typing.TYPE_CHECKING",
        "json",
        "numpy",
    }
    assert "tensorflow" in _imports(path)
    assert "torch" not in _imports(path)


def test_heavy_packages_are_imported_inside_functions_only():
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _python_files()
        for name in _imports(path, module_level=True)
        if path.is_relative_to(ROOT / "cmrjax")
        and any(_is_under(name, package) for package in NEVER_AT_MODULE_LEVEL)
    ]
    assert found == []


def _attributes(path: pathlib.Path) -> set[str]:
    """Dotted names that a file spells out, as jax.distributed.initialize."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(x) for x in ast.walk(tree) if isinstance(x, ast.Attribute)}


def _used_in(package: str, files: list[pathlib.Path]) -> set[pathlib.Path]:
    """Files that import a package, or reach a part of one by its full name."""

    def names(path: pathlib.Path) -> set[str]:
        return _imports(path) | (_attributes(path) if "." in package else set())

    return {p for p in files if any(_is_under(name, package) for name in names(p))}


@pytest.mark.parametrize("package", ONLY_IN)
def test_edge_packages_are_imported_in_one_place(package):
    found = _used_in(package, _python_files())
    assert {path.relative_to(ROOT).as_posix() for path in found} == ONLY_IN[package]


def test_a_part_of_a_package_is_found_however_it_is_reached(tmp_path):
    sources = {
        "a.py": "import jax\njax.distributed.initialize()",
        "b.py": "def f():\n    from jax import distributed",
        "c.py": "import jax\njax.distributed_or_not, jax.jit",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    found = _used_in("jax.distributed", sorted(tmp_path.iterdir()))
    assert {path.name for path in found} == {"a.py", "b.py"}


def test_package_has_a_type_marker_and_every_folder_is_a_package():
    assert (ROOT / "cmrjax" / "py.typed").is_file()
    assert importlib.util.find_spec("cmrjax") is not None
    folders = {path.parent for path in _python_files()}
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []
