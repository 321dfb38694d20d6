"""VGG19 features against a convolution written out in NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from cmrjax.array_files import read_npz, write_npz
from cmrjax.losses.perceptual import perceptual_loss
from cmrjax.models.vgg19 import (
    FEATURES,
    FORMAT,
    LAYER_WIDTHS,
    load_vgg19,
    prepare_weights,
    vgg19_features,
)

CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68])


def random_arrays(last: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Kernels and biases of true shape, as trained, up to the layer `last`."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, (c_in, c_out) in LAYER_WIDTHS.items():
        scale = (2 / (9 * c_in)) ** 0.5
        kernel = rng.normal(0, scale, (3, 3, c_in, c_out))
        arrays[f"{name}.kernel"] = kernel.astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.5, c_out).astype(np.float32)
        if name == last:
            break
    return arrays


def reference_convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray):
    """Cross-correlation with zero padding of one image [h, w, c_in], in float64."""
    planes = [
        sum(
            scipy.signal.correlate2d(x[:, :, i], kernel[:, :, i, o], mode="same")
            for i in range(x.shape[2])
        )
        for o in range(kernel.shape[3])
    ]
    return np.stack(planes, axis=-1) + bias


def reference_first_layer(arrays, image, convention):
    """relu1_1 of one image [h, w] by the convention's own preprocessing."""
    kernel = arrays["conv1_1.kernel"].astype(np.float64)
    bias = arrays["conv1_1.bias"].astype(np.float64)
    colour = np.repeat(image[:, :, None].astype(np.float64), 3, axis=2)
    if convention == "torchvision":
        return np.maximum(reference_convolution(colour, kernel, bias), 0)
    colour = 127.5 * (colour + 1) - CAFFE_MEAN_BGR
    return np.maximum(reference_convolution(colour, kernel, bias), 0) / 58


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Two images [2, 9, 12, 1] float32 in [-1, 1]."""
    rng = np.random.default_rng(3)
    return rng.uniform(-1, 1, (2, 9, 12, 1)).astype(np.float32)


@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_first_layer_equals_numpy_also_at_the_border(image, convention):
    arrays = random_arrays("conv1_1")
    if convention == "caffe":
        arrays["conv1_1.bias"] *= 58
    weights = prepare_weights(arrays, convention=convention)
    features = vgg19_features(weights, jnp.asarray(image))
    assert list(features) == ["relu1_1"]
    for i in range(2):
        expected = reference_first_layer(arrays, image[i, :, :, 0], convention)
        np.testing.assert_allclose(features["relu1_1"][i], expected, atol=2e-5)


def test_folding_the_mean_into_the_bias_would_be_wrong_at_the_border(image):
    # The check above must be able to see the mistake it is there for.
    arrays = random_arrays("conv1_1")
    kernel = arrays["conv1_1.kernel"].astype(np.float64)
    grey = np.repeat(image[0].astype(np.float64), 3, axis=2)
    shift = 127.5 - CAFFE_MEAN_BGR
    folded = reference_convolution(
        127.5 * grey, kernel, np.einsum("hwco,c->o", kernel, shift)
    )
    right = reference_convolution(127.5 * grey + shift, kernel, np.zeros(64))
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(folded[inner], right[inner], atol=1e-9)
    assert np.abs(folded - right).max() > 1


@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_second_block_equals_numpy_on_an_odd_image(image, convention):
    arrays = random_arrays("conv2_1")
    factor = 58.0 if convention == "caffe" else 1.0
    weights = prepare_weights(arrays, convention=convention)
    features = vgg19_features(weights, jnp.asarray(image[:1]))

    x = reference_first_layer(arrays, image[0, :, :, 0], convention)
    k, b = arrays["conv1_2.kernel"], arrays["conv1_2.bias"] / factor
    x = np.maximum(reference_convolution(x, k, b), 0)
    x = x[:8, :12].reshape(4, 2, 6, 2, 64).max(axis=(1, 3))
    k, b = arrays["conv2_1.kernel"], arrays["conv2_1.bias"] / factor
    x = np.maximum(reference_convolution(x, k, b), 0)
    assert features["relu2_1"].shape == (1, 4, 6, 128)
    np.testing.assert_allclose(features["relu2_1"][0], x, atol=1e-4)


def test_first_kernel_takes_grey_images():
    arrays = random_arrays("conv1_1")
    torchvision = prepare_weights(arrays, convention="torchvision")
    caffe = prepare_weights(arrays, convention="caffe")
    assert torchvision.kernels["conv1_1"].shape == (3, 3, 1, 64)
    assert caffe.kernels["conv1_1"].shape == (3, 3, 2, 64)


def test_all_five_features_have_the_documented_shapes():
    widths = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512}
    widths["relu5_1"] = 512
    zeros = {
        f"{name}.{part}": np.zeros(shape, np.float32)
        for name, (c_in, c_out) in LAYER_WIDTHS.items()
        for part, shape in (("kernel", (3, 3, c_in, c_out)), ("bias", (c_out,)))
    }
    weights = prepare_weights(zeros, convention="torchvision")
    shapes = jax.eval_shape(vgg19_features, weights, jnp.zeros((2, 40, 32, 1)))
    assert {name: s.shape for name, s in shapes.items()} == {
        name: (2, 40 // 2**i, 32 // 2**i, width)
        for i, (name, width) in enumerate(widths.items())
    }
    assert weights.missing_features == ()
    assert weights.layers == tuple(LAYER_WIDTHS)


def test_missing_blocks_drop_out_and_are_named():
    # conv2_2 gives no feature: it is dropped, with all that is not there.
    weights = prepare_weights(random_arrays("conv2_2"), convention="caffe")
    assert weights.layers == ("conv1_1", "conv1_2", "conv2_1")
    assert weights.feature_names == ("relu1_1", "relu2_1")
    assert weights.missing_features == ("relu3_1", "relu4_1", "relu5_1")


def test_weights_are_an_argument_under_jit_and_grad(image):
    weights = prepare_weights(random_arrays("conv2_1"), convention="caffe")
    traces = []

    @jax.jit
    def loss(fake, real, weights):
        traces.append(1)
        real_features = vgg19_features(weights, real)
        return perceptual_loss(vgg19_features(weights, fake), real_features)

    x = jnp.asarray(image)
    other = jax.tree.map(lambda w: 0.5 * w, weights)
    assert loss(0.5 * x, x, weights) > 0
    assert loss(x, x, other) == 0
    assert len(traces) == 1
    gradient = jax.grad(loss)(0.5 * x, x, weights)
    assert bool(jnp.all(jnp.isfinite(gradient)))
    assert float(jnp.abs(gradient).max()) > 0
    assert float(jnp.abs(jax.grad(loss, argnums=1)(0.5 * x, x, weights)).max()) == 0


def test_computes_in_the_dtype_of_the_image(image):
    weights = prepare_weights(random_arrays("conv1_1"), convention="torchvision")
    full = vgg19_features(weights, jnp.asarray(image))["relu1_1"]
    half = vgg19_features(weights, jnp.asarray(image, jnp.bfloat16))["relu1_1"]
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.1)


def test_image_shape_errors():
    weights = prepare_weights(random_arrays("conv2_1"), convention="torchvision")
    with pytest.raises(ValueError, match=r"\[b, h, w, 1\].*got \(1, 8, 8, 3\)"):
        vgg19_features(weights, jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="at least 2 for relu2_1"):
        vgg19_features(weights, jnp.zeros((1, 1, 8, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1_2.kernel": None}, "layer conv1_2 is missing, though conv2_1 is there"),
        ({"conv1_1.kernel": None}, "layer conv1_1 is missing, though conv2_1 is there"),
        ({"conv1_2.bias": None}, "conv1_2.bias is missing, though conv1_2.kernel"),
        (
            {"conv1_2.kernel": np.zeros((64, 64, 3, 3))},
            r"conv1_2.kernel must be \(3, 3, 64, 64\), found \(64, 64, 3, 3\)",
        ),
        ({"conv2_1.bias": np.zeros(64)}, r"must be \(128,\), found \(64,\)"),
        ({"conv2_1.bias": np.full(128, np.nan)}, "conv2_1.bias holds NaN"),
    ],
)
def test_wrong_layers_are_named(change, message):
    arrays = {**random_arrays("conv2_1"), **change}
    arrays = {name: a for name, a in arrays.items() if a is not None}
    with pytest.raises(ValueError, match=message):
        prepare_weights(arrays, convention="torchvision")


def test_unknown_convention_and_no_layers():
    with pytest.raises(ValueError, match=r"\['caffe', 'torchvision'\], got 'keras'"):
        prepare_weights(random_arrays("conv1_1"), convention="keras")
    with pytest.raises(ValueError, match=r"layer conv1_1 is missing$"):
        prepare_weights({}, convention="caffe")


def test_load_reads_what_was_written(tmp_path):
    arrays = random_arrays("conv2_1")
    path = tmp_path / "vgg19.npz"
    write_npz(
        path,
        **arrays,
        format=np.asarray(FORMAT),
        convention=np.asarray("caffe"),
        source_sha256=np.asarray("abc"),
    )
    loaded = load_vgg19(path)
    expected = prepare_weights(arrays, convention="caffe", source_sha256="abc")
    assert jax.tree.structure(loaded) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    assert loaded.source_sha256 == "abc"


def test_missing_file_says_where_to_get_weights_and_how_to_do_without(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_vgg19(tmp_path / "my weights" / "none.npz")
    for part in (
        "none.npz",
        "vgg19-dcbb9e9d.pth",
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"tools.port_vgg19 DOWNLOADED_FILE '{tmp_path}/my weights/none.npz' (or",
        "needs h5py",
        "vgg19-dcbb9e9d.pth, needs torch",
        'config.loss.vgg19_weights = ""',
    ):
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(IsADirectoryError, match=r"is a folder; name the \.npz file"):
        load_vgg19(tmp_path)


def test_other_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "vgg19.npz"
    write_npz(path, **{"block1_conv1.kernel": np.zeros((3, 3, 3, 64))})
    with pytest.raises(ValueError, match=r"python -m tools.port_vgg19 .*vgg19\.npz"):
        load_vgg19(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"vgg19\.npz: not a readable npz file"):
        load_vgg19(path)
    np.savez(path, format=np.asarray(FORMAT), convention=np.asarray("caffe"))
    with pytest.raises(ValueError, match=r"vgg19\.npz: .*source_sha256"):
        load_vgg19(path)


def test_read_npz_refuses_a_single_array_and_damaged_compression(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"npz file \(it holds a single"):
        read_npz(path)
    np.savez_compressed(path, a=np.arange(5000))
    content = bytearray(path.read_bytes())
    content[60:200] = b"\xff" * 140
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable npz file"):
        read_npz(path)


def test_feature_names_follow_the_layers():
    assert FEATURES["conv4_1"] == "relu4_1"
    assert len(FEATURES) == 5
