"""The exported file gives the model's images, in a process that has JAX alone."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from cmrjax.synthesis.export import export_generator
from cmrjax.synthesis.params import hash_params, load_params, save_params
from cmrjax.synthesis.sample import synthesize
from tests.synthesis.recorded_run import BEST, LAST, SAID, at, write_recorded_run
from tests.synthesis.tiny_models import make_params
from tools import export_model

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(("cmrjax", "flax", "orbax"), None))  # not importable
import jax, jax.export, numpy as np
folder = sys.argv[1]
data = bytearray(open(folder + "/generator.jaxexport", "rb").read())
function = jax.export.deserialize(data)
print(function.platforms)
np.save(folder + "/images.npy", function.call(np.load(folder + "/labels.npy")))
"""


def test_a_process_without_cmrjax_gets_the_same_images(tmp_path, capsys):
    params = make_params()
    save_params(params, tmp_path / "model")
    arguments = [f"--model={tmp_path / 'model'}", f"--out={tmp_path / 'out'}"]
    assert export_model.main(arguments) == 0
    assert "MiB, cpu,cuda" in capsys.readouterr().out
    labels = np.random.default_rng(0).integers(0, 4, (3, 32, 32)).astype(np.uint8)
    np.save(tmp_path / "out" / "labels.npy", labels)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "('cpu', 'cuda')\n"
    images = np.load(tmp_path / "out" / "images.npy")
    np.testing.assert_allclose(images[..., 0], synthesize(labels, params), atol=2e-5)
    assert "Not for diagnosis" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert export_model.main(arguments) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("which", "step"), [("/checkpoints/best", BEST), ("", LAST)])
def test_the_card_says_what_the_source_was_trained_on(tmp_path, which, step):
    write_recorded_run(tmp_path / "run", make_params())
    arguments = [f"--model={tmp_path / 'run'}{which}", f"--out={tmp_path / 'out'}"]
    assert export_model.main([*arguments, "--platforms=cpu"]) == 0
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    sha256 = hash_params(load_params(f"{tmp_path / 'run'}{which}"))
    source = f"{tmp_path / 'run'}/checkpoints/{step}, step {step}, the moving average."
    for part in (*SAID, *at(step), source, sha256):
        assert part in card, part
    assert "Not stated" not in card
    assert "Nothing was measured" not in card


def test_overwrite_takes_its_own_folder_only(tmp_path, capsys, monkeypatch):
    save_params(make_params(), tmp_path / "model")
    arguments = [f"--model={tmp_path / 'model'}", "--platforms=cpu", "--overwrite"]
    out = tmp_path / "out"
    for _ in range(2):
        assert export_model.main([*arguments, f"--out={out}"]) == 0
    capsys.readouterr()
    (out / "thesis.txt").write_text("x")
    monkeypatch.setattr(export_model, "load_params", lambda _: 1 / 0)  # the slow work
    for refused in (out, out / "thesis.txt", tmp_path / "model"):
        assert export_model.main([*arguments, f"--out={refused}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"export_model: {refused}")
        assert "give another folder" in line
    assert (out / "thesis.txt").read_text() == "x"


def test_z_is_the_second_argument():
    params = make_params(latent_size=5)
    function = jax.export.deserialize(
        bytearray(export_generator(params, platforms=["cpu"]))
    )
    labels = np.random.default_rng(0).integers(0, 4, (2, 32, 32)).astype(np.uint8)
    z = np.array(jax.random.normal(jax.random.key(1), (5,)))
    images = np.asarray(function.call(labels, np.stack([z, z])))
    expected = synthesize(labels, params, key=jax.random.key(1))
    np.testing.assert_allclose(images[..., 0], expected, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (40, 32)}, "expected positive multiples of 32"),
        ({"platforms": ["gpu"]}, "expected of .'cpu', 'cuda'"),
        ({"platforms": []}, "expected of"),
    ],
)
def test_what_cannot_be_exported(options, message):
    with pytest.raises(ValueError, match=message):
        export_generator(make_params(), **options)


def test_a_model_with_z_has_one_size():
    with pytest.raises(ValueError, match="a model with z works at 32 pixels"):
        export_generator(make_params(latent_size=5), image_size=(64, 64))
