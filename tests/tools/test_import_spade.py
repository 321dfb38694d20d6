"""Generators of the public SPADE: the same images, and refusals."""

import json

import jax
import numpy as np
import pytest

from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.sample import synthesize
from tests.test_golden import FILE
from tools import import_spade
from tools.import_spade import import_generator


@pytest.fixture(scope="module")
def golden():
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def state(golden):
    """The reference's generator after a training forward, by its own names."""
    found = {}
    for group in ("g_before/", "g_after/"):
        for name, value in golden.items():
            if name.startswith(group):
                found[name.removeprefix(group)] = value
    return found


def _save(path, arrays):
    np.savez(path, **arrays)
    return path


def test_images_equal_those_of_the_reference(golden, state, tmp_path, capsys):
    """Saved as a model folder, loaded and synthesised: within 1e-4."""
    source = _save(tmp_path / "net_G.npz", state)
    out = tmp_path / "model"
    arguments = [str(source), str(out), "--image-size=64"]
    assert import_spade.main(arguments) == 0
    assert "9 classes, nf 2, 1 channel(s), seed 1/32 from labels" in (
        capsys.readouterr().out
    )
    params = load_params(out)
    images = synthesize(golden["input/label_map"], params)
    expected = golden["eval_after/fake_image"][:, 0]
    assert np.abs(images - expected).max() < 1e-4
    assert expected.std() > 0.02
    assert params.description.image_size == 64
    origin = json.loads((out / "model.json").read_text())["provenance"]["copy"]["of"]
    assert origin.startswith("net_G.npz (sha256 ")


def test_the_card_says_what_is_stated_and_what_is_assumed(state, tmp_path, capsys):
    source = _save(tmp_path / "net_G.npz", state)
    arguments = [str(source), str(tmp_path / "a"), "--image-size=64"]
    assert import_spade.main(arguments) == 0
    card = (tmp_path / "a" / "MODEL_CARD.md").read_text()
    for part in (
        "- Not recorded (--data of tools.import_spade states it here).",
        "Not stated. Whoever passes this model on must know whether the data allow it "
        "(--licence of tools.import_spade states it here).",
        "Assumed, not known: pixel spacing 1.33 mm (--spacing); intensities of train",
        "A copy of net_G.npz (sha256 ",
    ):
        assert part in card, part
    said = capsys.readouterr().out
    assert "assume seed 1/32: a file of --num_upsampling_layers=more has the same" in (
        said
    )
    assert "(--upsampling=more)" in said
    stated = ["--data=Own scans, 1.5 T", "--licence=CC BY 4.0", "--spacing=1.5"]
    arguments = [str(source), str(tmp_path / "b"), "--image-size=64", *stated]
    assert import_spade.main([*arguments, "--upsampling=normal"]) == 0
    assert "assume seed" not in capsys.readouterr().out
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    for part in ("made this folder: Own scans, 1.5 T", "- CC BY 4.0", "of 1.5 mm"):
        assert part in card, part
    for part in ("Not stated", "--licence", "--data", "--spacing", "seed 1/32"):
        assert part not in card, part


@pytest.mark.torch
def test_pth_files_are_read_without_running_anything(golden, state, tmp_path):
    import torch  # pyright: ignore[reportMissingImports]

    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    tensors["head_0.norm_0.param_free_norm.num_batches_tracked"] = torch.tensor(3)
    torch.save(tensors, tmp_path / "net_G.pth")
    params = import_generator(tmp_path / "net_G.pth", image_size=64)
    images = synthesize(golden["input/label_map"], params)
    assert np.abs(images - golden["eval_after/fake_image"][:, 0]).max() < 1e-4


@pytest.mark.torch
def test_a_z_seed_gives_the_reference_networks_image(tmp_path):
    """Against plain PyTorch with a dense layer in front, as --use_vae has it."""
    import torch  # pyright: ignore[reportMissingImports]

    from tools.torch_reference import TorchSpadeGenerator

    class WithLatent(TorchSpadeGenerator):
        def __init__(self):
            super().__init__(4, 2)
            self.fc = torch.nn.Linear(256, 32 * 2 * 2)

        def forward(self, onehot, z):
            x = self.fc(z).view(-1, 32, 2, 2)
            x = self.head_0(x, onehot)
            x = self.G_middle_0(self.up(x), onehot)
            x = self.G_middle_1(x, onehot)
            for block in (self.up_0, self.up_1, self.up_2, self.up_3):
                x = block(self.up(x), onehot)
            return torch.tanh(self.conv_img(torch.nn.functional.leaky_relu(x, 0.2)))

    torch.manual_seed(0)
    network = WithLatent().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    names = {"u": "weight_u", "v": "weight_v"}
    state = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = name.rpartition(".")
        spectral = f"{module}.u" in network.state_dict()
        leaf = "weight_orig" if spectral and leaf == "weight" else names.get(leaf, leaf)
        if module.endswith("mlp_shared"):
            module += ".0"
        state[f"{module}.{leaf}"] = tensor
    torch.save(state, tmp_path / "z.pth")
    params = import_generator(tmp_path / "z.pth")
    assert params.description.image_size == 64
    assert params.description.architecture.latent_size == 256
    labels = np.random.default_rng(0).integers(0, 4, (2, 64, 64)).astype(np.uint8)

    z = np.array(jax.random.normal(jax.random.key(5), (256,)))
    onehot = torch.from_numpy(np.eye(4, dtype=np.float32)[labels]).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network(onehot, torch.from_numpy(z).expand(2, 256))[:, 0].numpy()
    found = synthesize(labels, params, key=jax.random.key(5))
    assert np.abs(found - expected).max() < 1e-4
    assert expected.std() > 1e-2


def test_v_of_old_files_is_made(golden, state, tmp_path):
    old = {n: v for n, v in state.items() if not n.endswith("weight_v")}
    params = import_generator(_save(tmp_path / "g.npz", old), image_size=64)
    u = state["up_0.conv_0.weight_u"]
    matrix = state["up_0.conv_0.weight_orig"].reshape(len(u), -1)
    v = params.variables["spectral"]["up_0"]["conv_0"]["v"].transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(
        v, matrix.T @ u / np.linalg.norm(matrix.T @ u), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: s.clear(), {}, "has no head_0.norm_0.mlp_shared.0.weight; expected"),
        (lambda s: s.pop("up_2.conv_s.weight_u"), {}, "lacks 1 arrays"),
        (lambda s: s.update({"extra.bias": np.ones(2)}), {}, "has 1 unknown"),
        (lambda s: s.update({"extra.gain": np.ones(2)}), {}, "'gain' is not one of"),
        (
            lambda s: s.update({"fc.bias": np.ones(3, np.float32)}),
            {},
            r"params/fc/bias has shape \(3,\), expected \(32,\)",
        ),
        (
            lambda s: s.update({"fc.bias": np.full(32, np.nan, np.float32)}),
            {},
            "fc/bias holds NaN",
        ),
        (lambda s: None, {"upsampling": "most"}, "has no block up_4"),
        (lambda s: None, {"image_size": 100}, "--image-size is 100; expected a posi"),
    ],
)
def test_what_is_no_such_generator(state, tmp_path, change, options, message):
    changed = dict(state)
    change(changed)
    source = _save(tmp_path / "g.npz", changed)
    with pytest.raises(ValueError, match=message) as error:
        import_generator(source, **{"image_size": 64, **options})
    assert str(error.value).startswith(str(source))


class _Bomb:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.torch
def test_a_hostile_file_is_refused_in_one_line_and_not_run(tmp_path, capsys):
    import torch  # pyright: ignore[reportMissingImports]

    torch.save({"fc.weight": _Bomb(tmp_path / "run")}, tmp_path / "bad.pth")
    assert import_spade.main([str(tmp_path / "bad.pth"), str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"import_spade: {tmp_path}/bad.pth: not a readable state")
    assert text.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()


def test_an_unusable_out_is_said_before_the_weights_are_read(tmp_path, capsys):
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    assert import_spade.main([str(tmp_path / "no.pth"), str(out), "--overwrite"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "home holds something else" in line
    assert (out / "thesis.txt").read_text() == "x"
