"""The public names of the package."""

import ast
import importlib.metadata
import inspect
import pathlib
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


def _in_fresh_process(program):
    """Names of the modules that a program loads, in the order of their names."""
    report = (
        "import sys; before = set(sys.modules)\n"
        f"{program}\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", report], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_import_loads_nothing_but_this_file_and_the_standard_library():
    # What keeps `import cmrjax` fast (docs/performance.md), without timing it.
    loaded = _in_fresh_process("import cmrjax")
    assert [name for name in loaded if name.startswith("cmrjax")] == ["cmrjax"]
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert foreign == {"cmrjax"}
    assert len(loaded) < 60


def test_the_bound_on_loaded_modules_can_fail():
    assert len(_in_fresh_process("import cmrjax; cmrjax.CAVITY")) > 60


@pytest.mark.parametrize("name", sorted(cmrjax._MODULE_OF))
def test_type_checkers_are_told_of_the_module_that_a_name_comes_from(name):
    source = pathlib.Path(cmrjax.__file__).read_text(encoding="utf-8")
    imports = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imports[name] == cmrjax._MODULE_OF[name]


def test_public_functions_take_the_arguments_that_are_promised():
    # A change here breaks programs of users: raise the version and say so.
    promised = {
        "init_params": "num_classes image_size seed * schema base_features seed_stride"
        " latent_size spacing",
        "load_params": "directory * weights",
        "read_volume": "path * frame",
        "synthesize": "labels params * batch_size key dtype statistics spacing",
        "write_volume": "path array affine * header",
    }
    functions = {
        name for name in cmrjax.__all__ if inspect.isfunction(getattr(cmrjax, name))
    }
    assert functions == set(promised)
    for name, arguments in promised.items():
        before, _, after = arguments.partition(" * ")
        found: dict[int, list[str]] = {}
        for parameter in inspect.signature(getattr(cmrjax, name)).parameters.values():
            found.setdefault(parameter.kind, []).append(parameter.name)
        by_name = {inspect.Parameter.KEYWORD_ONLY: after.split()} if after else {}
        in_order = {inspect.Parameter.POSITIONAL_OR_KEYWORD: before.split()}
        assert found == in_order | by_name, name
