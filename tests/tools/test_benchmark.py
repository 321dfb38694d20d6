"""The benchmark on small networks: its lines, its values, what it refuses."""

import importlib.util
import io
import json
import pathlib
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.state import GanState
from experiments.configs import base
from tests.data.prepared_folder import make_prepared
from tests.models.drawn import draw_variables
from tests.synthesis.tiny_models import make_params
from tools import benchmark, benchmark_flags, benchmark_torch, estimate
from tools.benchmark_ours import synthesis_shapes, tables_fit
from tools.benchmark_settings import Settings, choose_vgg19
from tools.benchmark_timing import Ratio, Timing, alternate, warm_up
from tools.cold_start import measure_cold_start

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEYS = {
    *"format created code device versions compilation_cache config".split(),
    *"overrides maps num_maps num_classes perceptual image_size".split(),
    *"base_features batch_size".split(),
    *"measure implementation variant dtype passes repeats iterations".split(),
    *"images_per_second seconds_median seconds_min seconds_max".split(),
    *"compile_seconds gflop_per_step gflop_per_step_dense achieved_gflops".split(),
    *"peak_gflops peak_source mfu peak_host_bytes peak_device_bytes".split(),
    *"temporary_bytes program_bytes table_rows tables_fit".split(),
}


ESTIMATE_KEYS = {
    *"measure num_slices num_steps hours hours_of_steps hours_per_1000_steps".split(),
    *"images_per_second seconds_per_step compile_seconds start_seconds".split(),
    *"input_wait_share validation_batch_seconds checkpoint_bytes disk_bytes".split(),
    *"checkpoint_seconds temporary_bytes program_bytes peak_host_bytes".split(),
    *"peak_device_bytes code device versions config overrides".split(),
}


def tiny_config() -> base.Config:
    """Width 1, 32 x 32, batch 2, heart classes."""
    config = base.get_config()
    config.data.schema = "cavity"
    config.data.image_size = 32
    config.model.base_features = 1
    config.loss.vgg19_weights = ""
    config.training.batch_size = 2
    return config


def draw_state(trainer: GanTrainer, key: jax.Array) -> GanState:
    """A state at step 0 without the ten seconds that its initialisation compiles."""
    labels = jnp.zeros((1, 32, 32), jnp.uint8)
    image = jnp.zeros((1, 32, 32, 1))
    g = draw_variables(trainer.generator.init, labels, train=False)
    d = draw_variables(trainer.discriminator.init, labels, image, train=False, seed=1)
    state = GanState(
        step=jnp.zeros((), jnp.int32),
        g_variables=g,
        d_variables=d,
        g_opt_state=trainer.g_optimizer.init(g["params"]),
        d_opt_state=trainer.d_optimizer.init(d["params"]),
    )
    return trainer.placement.replicate(jax.tree.map(jnp.asarray, state))


@pytest.fixture
def quick(monkeypatch):
    """Shortens what is compiled; the step of all tests here is one program."""
    monkeypatch.setattr(GanTrainer, "init", draw_state)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def run_tiny(config: base.Config, **settings) -> list[dict]:
    out = io.StringIO()
    chosen = {"repeats": 2, "repeat_seconds": 0.0, "passes": (2,), "cold_start": False}
    benchmark.run(config, Settings("tiny", **{**chosen, **settings}), out=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def check_arithmetic(record: dict) -> None:
    """What follows from other values of a line."""
    found = record["images_per_second"] * record["seconds_median"]
    assert found == pytest.approx(record["batch_size"])
    ordered = [record[f"seconds_{name}"] for name in ("min", "median", "max")]
    assert ordered == sorted(ordered)
    speed = record["gflop_per_step"] / record["seconds_median"]
    assert record["achieved_gflops"] == pytest.approx(speed)
    assert record["mfu"] == pytest.approx(speed / record["peak_gflops"])


@pytest.mark.torch
def test_step_loader_and_inference_beside_pytorch(quick, capsys):
    measures = ("step", "loader", "inference")
    variants = ("channels_last+fused_adam",)
    lines = run_tiny(
        tiny_config(), measure=measures, compare_torch=True, torch_variants=variants
    )
    assert all(line["format"] == "cmrjax-benchmark-1" for line in lines)
    timed = [line for line in lines if "seconds_median" in line]
    names = [(x["measure"], x["implementation"], x["variant"]) for x in timed]
    assert names == [
        ("inference", "cmrjax", "synthesize float32"),
        ("inference", "torch", "reference"),
        ("inference", "torch", "channels_last+fused_adam"),
        ("step", "cmrjax", "float32, 2 passes"),
        ("step", "torch", "reference"),
        ("step", "torch", "channels_last+fused_adam"),
        ("loader", "cmrjax", "float32, 2 passes"),
    ]
    for line in timed:
        assert set(line) >= KEYS
        check_arithmetic(line)
    assert 0 <= timed[-1]["input_wait_share"] < 1
    assert timed[-1]["loader_seconds_per_batch"] > 0
    assert timed[3]["temporary_bytes"] > 0
    assert timed[3]["program_bytes"] > timed[3]["temporary_bytes"]
    check_comparison(lines, timed)
    shown = capsys.readouterr().err
    assert "images of cmrjax and torch differ by" in shown
    assert "torch channels_last+fused_adam" in shown
    assert shown.count("step      ") >= 6  # three ratios, three rows


def check_comparison(lines: list[dict], timed: list[dict]) -> None:
    difference = next(line for line in lines if line["measure"] == "difference")
    assert difference["images"] < 1e-4
    ratios = [line for line in lines if line["measure"] == "ratio"]
    assert [(x["of"], x["name"]) for x in ratios] == [
        (of, name)
        for of in ("inference", "step")
        for name in ("like_for_like", "best_against_best", "best_against_reference")
    ]
    like = ratios[3]
    assert (like["ours"], like["theirs"]) == (
        "cmrjax float32, 2 passes",
        "torch reference",
    )
    assert like["ratio_min"] <= like["ratio_median"] <= like["ratio_max"]
    assert ratios[4]["ratio_median"] > 0
    fastest = timed[4]["seconds_max"] / timed[3]["seconds_min"]
    assert like["ratio_max"] <= fastest * (1 + 1e-9)


def test_estimate_of_a_configuration(quick, capsys):
    config, out = tiny_config(), io.StringIO()
    estimate.run(config, Settings("tiny"), slices=20, out=out)
    record = json.loads(out.getvalue())
    assert set(record) >= ESTIMATE_KEYS
    assert (record["num_slices"], record["num_steps"]) == (20, 500)
    per_step = record["seconds_per_step"]
    assert record["hours_of_steps"] == pytest.approx(500 * per_step / 3600)
    assert record["hours"] > record["hours_of_steps"]
    assert record["images_per_second"] == pytest.approx(2 / per_step)
    assert 0 <= record["input_wait_share"] < 1
    assert record["checkpoint_bytes"] > 1e5
    assert record["disk_bytes"] == 3 * record["checkpoint_bytes"]  # two, and the best
    shown = capsys.readouterr().err
    assert "h for 500 steps" in shown
    assert "MiB a checkpoint" in shown


class FakeStep:
    """Stands for a compiled step."""

    program_bytes = 7
    first_losses = None

    def __init__(self, label, trainer, vgg, **_) -> None:
        self.label, self.trainer = label, trainer
        self.compiled = CompiledStep(None, 1.0, 0.0, 5)

    def run(self, iterations: int) -> None:
        time.sleep(1e-3 * iterations)

    def is_finite(self) -> bool:
        return True


def test_passes_and_dtypes_are_rows_of_one_run(quick, monkeypatch, tmp_path):
    monkeypatch.setattr("tools.benchmark_session.StepRunner", FakeStep)
    data = make_prepared(tmp_path / "data", size=(32, 32), valid_box=(0, 32, 0, 32))
    lines = run_tiny(
        tiny_config(),
        measure=("step",),
        maps=str(data),
        passes=(2, 1),
        dtypes=("float32", "bfloat16"),
    )
    rows = [(x["dtype"], x["passes"]) for x in lines]
    assert rows == [(d, p) for d in ("float32", "bfloat16") for p in (2, 1)]
    assert all(set(x) >= KEYS for x in lines)
    assert {x["maps"] for x in lines} == {"prepared data"}
    assert {x["num_maps"] for x in lines} == {4}  # the training slices
    assert lines[0]["gflop_per_step"] > lines[1]["gflop_per_step"]
    assert lines[0]["peak_gflops"] != lines[2]["peak_gflops"]


def test_cold_start_is_timed_in_new_processes():
    found = measure_cold_start(make_params(), np.zeros((32, 32), np.uint8))
    assert found["cold_start_seconds"] > found["cold_compile_seconds"] > 0
    assert 0 < found["warm_start_seconds"]


def command(*arguments: str) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "tools.benchmark"]
    return subprocess.run(
        [*program, *arguments], cwd=ROOT, capture_output=True, text=True
    )


# ml_collections reads a configuration file in this way.
@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method:DeprecationWarning")
def test_the_command_prints_json_on_stdout_and_a_table_on_stderr(
    quick, monkeypatch, capsys
):
    monkeypatch.setattr(benchmark, "configure_logging", lambda: None)
    values = flags.FlagValues()
    benchmark_flags.define_flags(values)
    arguments = [
        f"--config={ROOT / 'experiments' / 'configs' / 'multi_demo.py'}",
        "--config.data.schema=cavity",
        "--config.data.image_size=32",
        "--config.model.base_features=1",
        "--config.training.batch_size=2",
        "--measure=inference",
        "--repeats=1",
        "--repeat_seconds=0",
        "--nocold_start",
        "--cache",
    ]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])  # ml_collections looks
    benchmark.main(benchmark_flags.parse(sys.argv, values), values)
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    record = json.loads(line)
    assert set(record) >= KEYS
    assert record["config"] == "multi_demo"
    assert record["overrides"]["model.base_features"] == 1
    assert "images/s" in shown.err
    assert "cmrjax synthesize" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=none.py"], "--config: no file none.py"),
        (["--config.model.nf=3"], "the configuration has no such setting: .*nf"),
        (["--passes=3"], r"--passes=3: expected some of 1, 2"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, message):
    done = command("--config=experiments/configs/multi_demo.py", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.search(f"^benchmark: .*{message}.*$", done.stderr.strip())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": ("steps",)}, "--measure=steps: expected some of step, loader"),
        ({"measure": ()}, "must not be empty"),
        ({"passes": (1, 1)}, "--passes=1,1: expected some of 1, 2, each once"),
        ({"dtypes": ("float16",)}, "--dtypes=float16: expected some of float32"),
        ({"repeats": 0}, "--repeats=0: expected at least 1"),
        ({"repeat_seconds": -1.0}, "--repeat_seconds=-1.0: expected 0 to 3600"),
    ],
)
def test_settings_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        Settings("name", **change)


def test_without_pytorch_the_command_to_install_it_is_said(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "torch" else found(n)
    )
    with pytest.raises(ValueError, match="needs PyTorch: pip install torch"):
        run_tiny(tiny_config(), compare_torch=True)


def test_what_pytorch_cannot_be_compared_with():
    with pytest.raises(ValueError, match="'fast' is not known; expected 'reference'"):
        benchmark_torch.parse_variants(("autocast+fast",), "cpu")
    config = tiny_config()
    config.model.latent_size = 8
    with pytest.raises(ValueError, match=r"config\.model\.latent_size is 8; .* have 0"):
        benchmark_torch.check_comparable(config)


def test_variants_by_device():
    assert list(benchmark_torch.parse_variants((), "cpu")) == [
        "reference",
        "channels_last",
    ]
    chosen = benchmark_torch.parse_variants(("compile+autocast",), "cuda")
    assert chosen == {
        "reference": {},
        "compile+autocast": dict(compile=True, autocast=True),
    }
    everything = list(benchmark_torch.parse_variants((), "cuda").values())[-1]
    assert set(everything) == set(benchmark_torch.OPTIONS)


def test_vgg19_is_drawn_where_the_configuration_has_the_loss():
    config = tiny_config()
    assert choose_vgg19(Settings("x"), config).weights is None
    config.loss.vgg19_weights = "weights/vgg19.npz"
    drawn = choose_vgg19(Settings("x"), config)
    assert (drawn.name, len(drawn.arrays or ())) == ("random", 26)
    assert drawn.weights is not None
    assert len(drawn.weights.feature_names) == 5
    with pytest.raises(FileNotFoundError, match=r"no file none\.npz"):
        choose_vgg19(Settings("x", vgg19="none.npz"), config)


class Sleeper:
    """Counts calls; a clock that is given to the tests moves by what it takes."""

    def __init__(self, label: str, seconds: float, clock: list, calls: list) -> None:
        self.label, self._seconds = label, seconds
        self._clock, self._calls = clock, calls

    def run(self, iterations: int) -> None:
        self._calls.append((self.label, iterations))
        self._clock[0] += self._seconds * iterations


def test_runners_take_turns_and_times_are_of_one_iteration(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    a, b = (Sleeper(n, s, clock, calls) for n, s in (("a", 0.25), ("b", 2.0)))
    warm = {x.label: warm_up(x, repeat_seconds=1.0) for x in (a, b)}
    assert warm == {"a": (0.25, 4), "b": (2.0, 1)}
    calls.clear()
    timings = alternate([a, b], warm, repeats=2)
    assert calls == [("a", 4), ("b", 1)] * 2
    assert timings["a"] == Timing(0.25, 4, (0.25, 0.25))
    assert timings["b"].median == 2.0
    assert Ratio.of(timings["a"], timings["b"]) == Ratio(8.0, 8.0, 8.0)


def test_a_ratio_is_the_median_over_pairs():
    ours, theirs = Timing(0, 1, (1.0, 2.0, 1.0)), Timing(0, 1, (2.0, 2.0, 5.0))
    assert Ratio.of(ours, theirs) == Ratio(2.0, 1.0, 5.0)


def test_synthesis_works_off_powers_of_two():
    assert synthesis_shapes((6, 32, 32)) == [(4, 32, 32), (2, 32, 32)]
    assert synthesis_shapes((8, 32, 32)) == [(8, 32, 32)]


def test_a_map_beyond_its_table_is_noticed():
    labels = np.random.default_rng(0).integers(0, 4, (1, 32, 32)).astype(np.uint8)
    assert not tables_fit([(32, 64)], 1, [labels], 4)
    assert tables_fit([(32, 1024)], 1, [labels], 4)
    assert tables_fit([(32, 64)], 1, [np.zeros_like(labels)], 4)
