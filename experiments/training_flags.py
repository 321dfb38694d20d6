"""The command line of the training commands: flags, errors in one line, the ending."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from cmrjax.files import shorten
from cmrjax.training.console import configure_logging
from cmrjax.training.loop import LoopResult, NonFiniteLossError
from cmrjax.training.processes import fail, find_launch, join, leave
from cmrjax.training.signals import StopRequest

logger = logging.getLogger(__name__)


def command_of(config: Any) -> str:
    """Returns the command that a configuration is for."""
    return "train_segmentation" if "augmentation" in config else "train_gan"


def run_command(name: str, run: Callable[..., LoopResult]) -> None:
    """Runs a training command: --config=FILE --workdir=DIR, then does not return.

    Args:
      name: of the command, for messages.
      run: (config, workdir, profile=steps, stop=what notes signals) -> how the run
        ended.
    """
    _check_what_is_there(name, sys.argv[1:])
    _check_config_argument(name, sys.argv)
    define_flags(flags.FLAGS)
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(lambda argv: _main(name, run, argv), flags_parser=_parser(name))


def define_flags(values: flags.FlagValues) -> None:
    """Defines --config, --workdir and --profile.

    Args:
      values: where.
    """
    config_flags.DEFINE_config_file(
        "config", help_string="configuration file", flag_values=values
    )
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_integer(
        "profile",
        0,
        "steps to trace into WORKDIR/profile, after the first five",
        flag_values=values,
    )


def parse_flags(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Parses a command line with --config.NAME=VALUE.

    Args:
      values: the flags that are defined.
      argv: with the program's name.

    Returns:
      What is no flag.

    Raises:
      flags.Error: an unknown flag, or a value of another type.
      ValueError: whatever else ml_collections raises, as for a part of a NAME that is
        not there; one line.
    """
    try:
        return values(argv)
    except flags.Error:
        raise
    except Exception as error:
        raise ValueError(
            f"--config: {shorten(error, 300)}; experiments/configs/base.py and"
            " segmentation.py have all settings"
        ) from error


def _parser(name: str) -> Callable[[Sequence[str]], list[str]]:
    """Returns what parses the command line, or ends the command with one line."""

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            return parse_flags(flags.FLAGS, argv)
        except flags.Error as error:
            sys.exit(f"{name}: {shorten(error, 600)}")
        except ValueError as error:
            sys.exit(f"{name}: {error}")

    return parse


def _main(name: str, run: Callable[..., LoopResult], argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
    fitting = command_of(config)
    if fitting != name:
        sys.exit(
            f"{name}: --config is a configuration of {fitting}; run python -m "
            f"experiments.{fitting}, or name another one"
        )
    with StopRequest() as stop:  # before anything that takes long
        result = _run(name, run, config, workdir, stop)
        leave()
        _say_the_end(result, workdir)


def _run(
    name: str,
    run: Callable[..., LoopResult],
    config: Any,
    workdir: str,
    stop: StopRequest,
) -> LoopResult:
    """Joins the others and runs; an error ends this process, and the others with it."""
    try:
        _join_others(name)
        return run(config, workdir, profile=flags.FLAGS.profile, stop=stop)
    except (ValueError, OSError, NonFiniteLossError) as error:
        fail(f"{name}: {error}")
    except KeyboardInterrupt:
        logger.info("interrupted; what was saved before is there")
        if jax.process_count() > 1:
            fail(f"{name}: interrupted")
        sys.exit(130)
    except BaseException as error:
        if jax.process_count() > 1:
            traceback.print_exc()
            fail(f"{name}: {type(error).__name__}: {error}")
        raise


def _say_the_end(result: LoopResult, workdir: str) -> None:
    if not result.began:
        kept = f"continues from step {result.step}" if result.step else "starts anew"
        logger.info(
            "%s before the first step: nothing new is saved; the same command %s",
            result.stopped_by,
            kept,
        )
    elif result.stopped_by:
        logger.info(
            "%s: saved at step %d; the same command continues",
            result.stopped_by,
            result.step,
        )
    else:
        ending = f" ({result.over})" if result.over else ""
        logger.info("done: %d steps%s, model in %s", result.step, ending, workdir)


def _join_others(name: str) -> None:
    """Starts the log, and connects with the other processes where there are some."""
    try:
        launch = find_launch(os.environ)
        configure_logging(quiet=launch is not None and launch.index > 0)
        if launch is not None:
            join(launch)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"{name}: {error}")


def _check_what_is_there(name: str, arguments: Sequence[str]) -> None:
    """Says in one line what is missing, where absl prints much."""
    given = {argument.partition("=")[0].lstrip("-") for argument in arguments}
    missing = [option for option in ("config", "workdir") if option not in given]
    if missing and not given & {"help", "helpshort", "helpfull", "helpxml", "flagfile"}:
        needed = " and ".join(f"--{option}" for option in missing)
        sys.exit(f"{name}: needs {needed}; --help lists the options")


def _check_config_argument(name: str, argv: Sequence[str]) -> None:
    """Names a configuration file that is not there, which ml_collections does not."""
    for value in argv:
        option, _, path = value.partition("=")
        if option.lstrip("-") == "config" and path and not os.path.isfile(path):
            sys.exit(f"{name}: --config: no file {path}; see experiments/configs")
