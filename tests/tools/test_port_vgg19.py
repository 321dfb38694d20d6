"""Conversion of VGG19 weights from every kind of file."""

import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from cmrjax.files import sha256_file
from cmrjax.models.vgg19 import (
    LAYER_WIDTHS,
    load_vgg19,
    prepare_weights,
    vgg19_features,
)
from tools.port_vgg19 import TORCHVISION_INDEX, main, port


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Random layers conv1_1 to conv2_1 of true shape, HWIO."""
    rng = np.random.default_rng(0)
    out = {}
    for name in ("conv1_1", "conv1_2", "conv2_1"):
        c_in, c_out = LAYER_WIDTHS[name]
        out[f"{name}.kernel"] = rng.normal(size=(3, 3, c_in, c_out)).astype(np.float32)
        out[f"{name}.bias"] = rng.normal(size=c_out).astype(np.float32)
    return out


def torchvision_names(arrays):
    """The same under torchvision's names, OIHW, with a classifier beside them."""
    index = {layer: i for i, layer in TORCHVISION_INDEX.items()}
    out = {"classifier.0.weight": np.zeros((2, 2), np.float32)}
    for name, array in arrays.items():
        layer, part = name.split(".")
        if part == "kernel":
            array, part = np.ascontiguousarray(array.transpose(3, 2, 0, 1)), "weight"
        out[f"features.{index[layer]}.{part}"] = array
    return out


def write_keras(path, arrays, style):
    """Writes .h5 as Keras versions 1, 2 and 3 have done."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, part = name.split(".")
            keras = f"block{layer[4]}_conv{layer[6]}"
            full = {
                "keras1": f"{keras}/{keras}_{'W' if part == 'kernel' else 'b'}_1:0",
                "keras2": f"model_weights/{keras}/{keras}/{part}:0",
                "keras3": f"layers/{keras}/vars/{'0' if part == 'kernel' else '1'}",
            }[style]
            file[full] = array
        file["block1_pool/empty"] = np.zeros(0)


def write_source(path, arrays, style):
    """Writes one kind of source file."""
    if style == "safetensors":
        safetensors.numpy.save_file(torchvision_names(arrays), path)
    elif style == "npz":
        block = {f"block{n[4]}_conv{n[6:]}": a for n, a in arrays.items()}
        np.savez(path, **block)
    else:
        write_keras(path, arrays, style)


@pytest.mark.parametrize(
    ("style", "suffix", "convention"),
    [
        ("safetensors", ".safetensors", "torchvision"),
        ("npz", ".npz", "caffe"),
        ("keras1", ".h5", "caffe"),
        ("keras2", ".h5", "caffe"),
        ("keras3", ".hdf5", "caffe"),
    ],
)
def test_round_trip(tmp_path, arrays, style, suffix, convention):
    source, out = tmp_path / f"source{suffix}", tmp_path / "out.npz"
    write_source(source, arrays, style)
    summary = port(source, out)
    assert f"{convention} convention" in summary
    assert "without relu3_1, relu4_1, relu5_1" in summary

    loaded = load_vgg19(out)
    expected = prepare_weights(arrays, convention=convention)
    for name in expected.layers:
        np.testing.assert_array_equal(loaded.kernels[name], expected.kernels[name])
        np.testing.assert_array_equal(loaded.biases[name], expected.biases[name])
    assert loaded.convention == convention
    assert loaded.source_sha256 == sha256_file(source)


def test_output_file_holds_the_source_hash_layers_and_convention(tmp_path, arrays):
    source, out = tmp_path / "source.npz", tmp_path / "out.npz"
    write_source(source, arrays, "npz")
    port(source, out)
    with np.load(out, allow_pickle=False) as file:
        assert list(file["layers"]) == ["conv1_1", "conv1_2", "conv2_1"]
        assert str(file["convention"]) == "caffe"
        assert str(file["source_name"]) == "source.npz"
        assert str(file["source_sha256"]) == sha256_file(source)
        np.testing.assert_array_equal(file["conv2_1.kernel"], arrays["conv2_1.kernel"])
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.torch
def test_torch_checkpoint(tmp_path, arrays):
    import torch  # pyright: ignore[reportMissingImports]

    state = {n: torch.from_numpy(a) for n, a in torchvision_names(arrays).items()}
    torch.save(state, tmp_path / "vgg19.pth")
    port(tmp_path / "vgg19.pth", tmp_path / "out.npz")
    expected = prepare_weights(arrays, convention="torchvision")
    loaded = load_vgg19(tmp_path / "out.npz")
    jax.tree.map(np.testing.assert_array_equal, loaded.kernels, expected.kernels)
    assert loaded.convention == "torchvision"


def test_without_torch_the_error_names_the_other_ways(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "vgg19.pth").write_bytes(b"0")
    with pytest.raises(ValueError, match=r"needs PyTorch.*safetensors.*\.h5"):
        port(tmp_path / "vgg19.pth", tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("suffix", "package"),
    [(".pth", "torch"), (".safetensors", "safetensors"), (".h5", "h5py")],
)
def test_a_missing_package_is_named_as_the_index_has_it(
    tmp_path, monkeypatch, suffix, package
):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    source = tmp_path / f"vgg19{suffix}"
    source.write_bytes(b"0")
    with pytest.raises(ValueError, match=rf"pip install {package}\b") as caught:
        port(source, tmp_path / "out.npz")
    assert "cmrjax[" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"block1_conv2.kernel": np.zeros((64, 3, 3, 64))},
            r"conv1_2.kernel must be \(3, 3, 64, 64\), found \(64, 3, 3, 64\)",
        ),
        ({"block1_conv2.kernel": None}, "conv1_2 is missing, though conv2_1"),
        ({"block2_conv1.bias": np.full(128, np.inf)}, "conv2_1.bias holds NaN"),
        ({"model/block1_conv1.bias": np.zeros(64)}, "conv1_1.bias is there twice"),
        ({"features.0.bias": np.zeros(64)}, "expected arrays named features.0.weight"),
    ],
)
def test_wrong_arrays_are_refused_and_nothing_is_written(
    tmp_path, arrays, change, message
):
    named = {f"block{n[4]}_conv{n[6:]}": a for n, a in arrays.items()}
    named = {n: a for n, a in {**named, **change}.items() if a is not None}
    np.savez(tmp_path / "source.npz", **named)
    with pytest.raises(ValueError, match=message) as caught:
        port(tmp_path / "source.npz", tmp_path / "out.npz")
    assert "source.npz" in str(caught.value)
    assert not (tmp_path / "out.npz").exists()


def test_files_of_other_kinds_are_refused(tmp_path):
    out = tmp_path / "out.npz"
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: expected arrays .*found a$"):
        port(tmp_path / "other.npz", out)
    np.savez(tmp_path / "pickled.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a readable npz file"):
        port(tmp_path / "pickled.npz", out)
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"single\.npz: not a readable npz .* single"):
        port(tmp_path / "single.npz", out)
    for name in ("bad.npz", "bad.h5", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(ValueError, match=f"{name}: not a readable"):
            port(tmp_path / name, out)
    (tmp_path / "weights.ckpt").write_bytes(b"0")
    with pytest.raises(ValueError, match=r"unknown kind of file '\.ckpt'; expected"):
        port(tmp_path / "weights.ckpt", out)
    with pytest.raises(ValueError, match=r"must be named \.npz"):
        port(tmp_path / "other.npz", tmp_path / "out.dat")


def test_command_line(tmp_path, arrays, capsys):
    write_source(tmp_path / "source.npz", arrays, "npz")
    source, out = str(tmp_path / "source.npz"), str(tmp_path / "out.npz")
    assert main([source, out]) == 0
    assert "gives   relu1_1, relu2_1" in capsys.readouterr().out
    assert main([str(tmp_path / "none.npz"), out]) == 1
    assert "none.npz: no such file" in capsys.readouterr().err


def test_runs_as_a_module(pytestconfig):
    done = subprocess.run(
        [sys.executable, "-m", "tools.port_vgg19", "--help"],
        cwd=pytestconfig.rootpath,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "SOURCE" in done.stdout.upper()


@pytest.mark.development_data
def test_true_weights_give_features_of_the_usual_size(tmp_path, development_data):
    source = development_data / "weights" / "vgg19_imagenet_block1-3.npz"
    port(source, tmp_path / "out.npz")
    weights = load_vgg19(tmp_path / "out.npz")
    assert weights.feature_names == ("relu1_1", "relu2_1", "relu3_1")
    ramp = jnp.linspace(-1, 1, 32, dtype=jnp.float32)
    image = jnp.broadcast_to(ramp[None, :, None, None], (1, 32, 32, 1))
    for feature in vgg19_features(weights, image).values():
        assert 0.1 < float(feature.mean()) < 10
