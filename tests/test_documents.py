"""README and docs: every command, option, target, name and link in them is there.

The commands are parsed by their own parsers, not run; `test_tutorial.py` runs those of
the tutorial.
"""

import argparse
import ast
import functools
import importlib
import re
import sys

import pytest
from absl import flags

import cmrjax
from experiments import training_flags
from tests.documents import (
    DOCUMENTS,
    ROOT,
    fenced_blocks,
    inline_code,
    python_commands,
)
from tools import benchmark_flags

# How ml_collections reads configuration files.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

COMMANDS = {
    f"{path.relative_to(ROOT)}-{i}-{command[0]}": command
    for path in DOCUMENTS
    for i, command in enumerate(python_commands(path.read_text(encoding="utf-8")))
}
TRAINING = ("experiments.train_gan", "experiments.train_segmentation")
PLACEHOLDER = re.compile(r"(--config\.([\w.]+))=[A-Z]+")
OPTION = re.compile(r"(?<!\S)--[a-z][\w.-]*")
# Options of other programs, and the pattern of a setting.
FOREIGN = {
    *("--config.section.name", "--config.SECTION.NAME"),
    # Of Slurm:
    *("--array", "--gpus-per-task", "--gres", "--kill-on-bad-exit", "--signal"),
}
OTHER_PROGRAMS = ("nnUNetv2_", "pip ", "tensorboard ", "srun ", "#SBATCH ")


class ParsedError(Exception):
    """Raised in the place of what a command would do."""


@pytest.fixture
def parse(monkeypatch):
    """Parses a command by its module's own parser; returns the options it knows."""
    monkeypatch.chdir(ROOT)

    def stop(parser, *args):
        _, extras = parser.parse_known_args(*args)
        if extras:
            parser.error(f"unrecognized arguments: {' '.join(extras)}")
        raise ParsedError(set(parser._option_string_actions))

    def run(command):
        name, *arguments = command
        if name in (*TRAINING, "tools.benchmark"):
            # ml_collections looks for a configuration's settings in sys.argv.
            monkeypatch.setattr(sys, "argv", [name, *_without_placeholders(arguments)])
            return _parse_flags(name, arguments)
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "configure_logging", lambda: None, raising=False)
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(ParsedError) as parsed:
            module.main(arguments)
        return parsed.value.args[0]

    return run


def _parse_flags(name, arguments):
    """Parses the command lines that absl reads, the configuration's settings too."""
    values = flags.FlagValues()
    if name == "tools.benchmark":
        benchmark_flags.define_flags(values)
    else:
        training_flags.define_flags(values)
    assert values([name, *_without_placeholders(arguments)]) == [name]
    for found in filter(None, map(PLACEHOLDER.fullmatch, arguments)):
        functools.reduce(getattr, found[2].split("."), values.config)
    return {f"--{flag}" for flag in values} | {
        f"--config.{setting}" for setting in _settings(values.config)
    }


def _without_placeholders(arguments):
    return [a for a in arguments if not PLACEHOLDER.fullmatch(a)]


def _settings(config, prefix=""):
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_is_understood(parse, command):
    assert parse(command)


def test_commands_were_found_in_every_way_of_writing_them():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = python_commands(text)
    assert len(commands) > 12
    block = ["experiments.evaluate_gan", "--model=runs/cavity_a1"]
    assert any(c[:2] == block and "--groups=B3" in c for c in commands)
    inline = ["experiments.import_pairs", "--source=DIR", "--mapping=mapping.json"]
    assert any(c[:3] == inline for c in commands)


@pytest.mark.parametrize(
    "command",
    [
        ["experiments.synthesize", "--model=m", "--labels=l", "--out=o", "--colour=1"],
        ["experiments.prepare_data", "--dataset=mnmz"],
    ],
)
def test_a_wrong_option_is_found(parse, command, capsys):
    with pytest.raises(SystemExit):
        parse(command)
    assert command[0].split(".")[1] in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["model.colour=1", "training.num_steps=many"])
def test_a_wrong_setting_is_found(parse, setting):
    file = "--config=experiments/configs/base.py"
    with pytest.raises((AttributeError, flags.IllegalFlagValueError)):
        parse(["experiments.train_gan", file, "--workdir=w", f"--config.{setting}"])


def test_options_in_running_text_belong_to_a_command(parse):
    known = set(FOREIGN)
    for name in {command[0] for command in COMMANDS.values()}:
        known |= _options_of(parse, name)
    unknown = [
        f"{path.name}: {code}"
        for path in DOCUMENTS
        for code in inline_code(path.read_text(encoding="utf-8"))
        if not code.startswith(OTHER_PROGRAMS)
        for option in OPTION.findall(code)
        if option not in known
    ]
    assert unknown == []


def _options_of(parse, name):
    configs = {
        "experiments.train_gan": "base",
        "tools.benchmark": "base",
        "experiments.train_segmentation": "segmentation",
    }
    if name in configs:
        return parse([name, f"--config=experiments/configs/{configs[name]}.py"])
    return parse(next(c for c in COMMANDS.values() if c[0] == name))


def test_make_targets_in_the_documents_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "wheel", "docs"} <= targets
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked.read_text(encoding="utf-8")), target


def _anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_use_public_names(path):
    for block in fenced_blocks(path.read_text(encoding="utf-8")):
        if block.language != "python":
            continue
        used = {
            node.attr
            for node in ast.walk(ast.parse(block.text))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "cmrjax"
        }
        assert used <= set(cmrjax.__all__), path
