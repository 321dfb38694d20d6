"""The PyTorch networks against the public SPADE's numbers and against our own update.

Errors are relative norms. The golden file ties forward passes, losses and gradients to
the public implementation; a whole iteration, Adam and the second pass included, is
compared with `GanStep` from the same variables.
"""

import contextlib
import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cmrjax.losses.perceptual import REFERENCE_LAYER_WEIGHTS
from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
)
from cmrjax.models.interchange import from_torch_names
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.models.vgg19 import LAYER_WIDTHS, prepare_weights, vgg19_features
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_step import GanStep
from cmrjax.training.optimizer import adam
from cmrjax.training.state import GanState
from tests.models.drawn import draw_variables
from tests.models.numpy_layers import relative_error

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
reference: Any = importlib.import_module("tools.torch_reference")

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "spade_reference_nf2_64.npz"
CLASSES, WIDTH, SIDE, BATCH = 9, 4, 64, 2
GENERATOR = SpadeGenerator(GeneratorArchitecture(CLASSES, WIDTH))
DISCRIMINATOR = MultiscaleDiscriminator(DiscriminatorArchitecture(CLASSES, WIDTH))
QUICK_TO_COMPILE: Any = {"xla_backend_optimization_level": 0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw_vgg(last: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights up to the layer `last`, of the size that keeps features alike."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, (c_in, c_out) in LAYER_WIDTHS.items():
        scale = np.float32(np.sqrt(2 / (9 * c_in)))
        kernel = rng.standard_normal((3, 3, c_in, c_out), np.float32)
        arrays[f"{name}.kernel"] = scale * kernel
        arrays[f"{name}.bias"] = np.float32(0.1) * rng.standard_normal(c_out, "f4")
        if name == last:
            break
    return arrays


def draw_batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One map of blocks and one of noise, as uint8, and images."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, CLASSES, (4, 4)), np.ones((16, 16)))
    noise = rng.integers(0, CLASSES, (SIDE, SIDE))
    image = rng.uniform(-1, 1, (BATCH, SIDE, SIDE, 1)).astype(np.float32)
    return np.stack([blocks, noise]).astype(np.uint8), image


def arrays_of(network: Any) -> dict[str, np.ndarray]:
    return {name: x.detach().numpy() for name, x in network.state_dict().items()}


@contextlib.contextmanager
def torch_in_float64() -> Iterator[None]:
    """New networks and tensors are float64, and `float()` does not take it away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


class Golden:
    """Networks, losses and gradients of the golden file's input, in PyTorch."""

    def __init__(self) -> None:
        with np.load(GOLDEN) as file:
            self.arrays = dict(file)
        self.gan = reference.TorchGan(9, 2)
        self.gan.discriminator = reference.TorchMultiscaleDiscriminator(9, 4)
        self.gan.load_jax(
            from_torch_names(self.group("g_before")),
            from_torch_names(self.group("d_before")),
        )
        self.onehot = self.gan.onehot(self.arrays["input/label_map"])
        real = self.arrays["input/real_image"]
        self.real = torch.tensor(real, dtype=torch.get_default_dtype())

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        start = len(prefix) + 1
        names = [name for name in self.arrays if name.startswith(prefix + "/")]
        return {name[start:]: self.arrays[name] for name in names}


@pytest.fixture
def golden() -> Golden:
    return Golden()


def test_golden_evaluation(golden):
    moved = {**golden.group("g_before"), **golden.group("g_after")}
    reference.load_variables(golden.gan.generator, from_torch_names(moved))
    image = golden.gan.synthesize(golden.arrays["input/label_map"])
    assert image.shape == (2, 64, 64, 1)
    expected = golden.arrays["eval_after/fake_image"].transpose(0, 2, 3, 1)
    assert relative_error(image.numpy(), expected) < 1e-5


def test_golden_image_and_discriminator_features(golden):
    with torch.no_grad():
        fake = golden.gan.generate(golden.onehot)
        sides = golden.gan._discriminate(golden.onehot, fake, golden.real)
    assert relative_error(fake.numpy(), golden.arrays["train/fake_image"]) < 1e-5
    compared = 0
    for side, scales in zip(("fake", "real"), sides, strict=True):
        for i, scale in enumerate(scales):
            for j, feature in enumerate(scale):
                expected = golden.arrays[f"train/d{i}_feature{j}_{side}"]
                assert relative_error(feature.numpy(), expected) < 1e-5
                compared += 1
    assert compared == 20


@pytest.fixture
def exact_golden() -> Iterator[Golden]:
    """In float64: in float32 one activation of -1e-7 may come out above 0."""
    with torch_in_float64():
        yield Golden()


def test_golden_update_of_the_generator(exact_golden):
    losses = exact_golden.gan.g_losses(exact_golden.onehot, exact_golden.real)
    terms = {name: x.item() for name, x in losses.items()}
    assert terms.pop("g_loss") == pytest.approx(sum(terms.values()))
    compare_losses(exact_golden, terms, ("g_adversarial", "g_feature_matching"))
    losses["g_loss"].backward()
    compare_gradients(exact_golden, exact_golden.gan.generator, "g")
    compare_state(exact_golden, exact_golden.gan.generator, "g")


def test_golden_update_of_the_discriminator(exact_golden):
    gan = exact_golden.gan
    with torch.no_grad():
        fake = gan.generate(exact_golden.onehot)
    losses = gan.d_losses(exact_golden.onehot, fake, exact_golden.real)
    terms = {name: x.item() for name, x in losses.items()}
    assert terms.pop("d_loss") == pytest.approx(sum(terms.values()))
    compare_losses(exact_golden, terms, ("d_fake", "d_real"))
    losses["d_loss"].backward()
    compare_gradients(exact_golden, gan.discriminator, "d")
    compare_state(exact_golden, gan.discriminator, "d")


def compare_losses(golden: Golden, terms: dict, names: tuple[str, str]) -> None:
    found = {name.replace("_loss", ""): value for name, value in terms.items()}
    expected = {name: float(golden.arrays[f"loss/{name}"]) for name in names}
    assert found == pytest.approx(expected, rel=1e-5)


def compare_gradients(golden: Golden, network: Any, letter: str) -> None:
    found = {n: p.grad.numpy() for n, p in network.named_parameters()}
    zero = 0
    for name, expected in golden.group(f"grad_{letter}").items():
        gradient = found[our_name(name)]
        if np.abs(expected).max() < 1e-6:  # a normalisation behind a bias removes it
            zero += 1
            assert np.abs(gradient).max() < 1e-12, name
        else:
            assert relative_error(gradient, expected) < 1e-5, name
    assert zero == {"g": 14, "d": 1}[letter]


def compare_state(golden: Golden, network: Any, letter: str) -> None:
    found, compared = arrays_of(network), 0
    for name, expected in golden.group(f"{letter}_after").items():
        if not name.endswith("num_batches_tracked"):
            assert relative_error(found[our_name(name)], expected) < 1e-5, name
            compared += 1
    assert compared >= {"g": 70, "d": 12}[letter]


def our_name(public_name: str) -> str:
    """Name in the networks here of an entry of the public one."""
    *modules, leaf = [part for part in public_name.split(".") if not part.isdigit()]
    leaf = {"weight_orig": "weight", "weight_u": "u", "weight_v": "v"}.get(leaf, leaf)
    return ".".join([*modules, leaf])


class Iteration:
    """One update by `GanStep` and by `TorchGan` from the same variables, in float64.

    In float32 a rounded activation changes sides of a leaky ReLU now and then, and
    Adam's first step turns the rounding of a small gradient into its sign.
    """

    def __init__(self) -> None:
        labels, image = draw_batch()
        batch = labels, image.astype(np.float64)
        small = jnp.zeros((1, SIDE, SIDE), jnp.uint8), jnp.zeros((1, SIDE, SIDE, 1))
        g = draw_variables(GENERATOR.init, small[0], train=False)
        d = draw_variables(DISCRIMINATOR.init, *small, train=False, seed=1)
        vgg = draw_vgg("conv2_1")
        with torch_in_float64():
            self._update_in_torch(vgg, g, d, *batch)
        with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
            patch.setattr(jnp, "float32", jnp.float64)
            self._update_in_jax(vgg, g, d, *batch)

    def _update_in_torch(self, vgg, g, d, labels, image) -> None:
        gan = self.torch_gan = reference.TorchGan(CLASSES, WIDTH, vgg=vgg)
        gan.load_jax(g, d)
        self.images = gan.synthesize(labels).numpy()
        losses = gan.train_step(labels, image)
        self.losses = {name: loss.numpy() for name, loss in losses.items()}

    def _update_in_jax(self, vgg, g, d, labels, image) -> None:
        generator = dataclasses.replace(GENERATOR, dtype=jnp.float64)
        discriminator = dataclasses.replace(DISCRIMINATOR, dtype=jnp.float64)
        # With decay 0 a trace is the gradient itself.
        g_adam, d_adam = (optax.chain(optax.trace(0.0), adam(x)) for x in (1e-4, 4e-4))
        step = GanStep(generator, discriminator, g_adam, d_adam, GanObjective())

        @functools.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
        def update(vgg, batch, g, d):
            state = GanState(
                step=jnp.zeros((), jnp.int32),
                g_variables=g,
                d_variables=d,
                g_opt_state=g_adam.init(g["params"]),
                d_opt_state=d_adam.init(d["params"]),
            )
            images = generator.apply(g, batch["label_map"], train=False)
            return images, *step(state, vgg, batch, jax.random.key(0))

        valid = np.ones((*labels.shape, 1), bool)
        batch = {"label_map": labels, "image": image, "valid_mask": valid}
        weights = prepare_weights(vgg, convention="torchvision")
        g, d = jax.tree.map(lambda x: np.asarray(x, np.float64), (g, d))
        done: Any = jax.device_get(update(weights, batch, g, d))
        self.our_images, self.our_state, self.our_losses = done

    def states(self, network: str) -> tuple[dict, dict]:
        """State after the update, PyTorch's and ours under PyTorch's names."""
        found = getattr(self.torch_gan, network)
        variables = getattr(self.our_state, f"{network[0]}_variables")
        return arrays_of(found), self._ours(found, variables)

    def gradients(self, network: str) -> tuple[dict, dict]:
        """Gradients; with b1 = 0 the first moment of PyTorch's Adam is the gradient."""
        found = getattr(self.torch_gan, network)
        optimizer = getattr(self.torch_gan, f"{network[0]}_optimizer")
        moments = {
            name: optimizer.state[parameter]["exp_avg"].numpy()
            for name, parameter in found.named_parameters()
        }
        trace = getattr(self.our_state, f"{network[0]}_opt_state")[0].trace
        variables = getattr(self.our_state, f"{network[0]}_variables")
        ours = self._ours(found, {**variables, "params": trace})
        return moments, {name: ours[name] for name in moments}

    def _ours(self, network: Any, variables: Any) -> dict[str, np.ndarray]:
        other = type(network)(CLASSES, WIDTH).double()
        reference.load_variables(other, variables)
        return arrays_of(other)


@pytest.fixture(scope="module")
def iteration() -> Iteration:
    return Iteration()


def test_inference_is_ours(iteration):
    assert relative_error(iteration.images, iteration.our_images) < 1e-9


def test_losses_are_ours(iteration):
    ours = {n: x for n, x in iteration.our_losses.items() if "_loss" in n}
    assert set(iteration.losses) == set(ours)
    for name, loss in iteration.losses.items():
        np.testing.assert_allclose(loss, ours[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_gradients_are_ours(iteration, network):
    found, ours = iteration.gradients(network)
    zero = {name for name, x in ours.items() if np.abs(x).max() < 1e-12}
    assert all(name.endswith("bias") for name in zero)
    assert len(zero) < len(ours) / 4
    for name, gradient in found.items():
        if name in zero:
            assert np.abs(gradient).max() < 1e-12, name
        else:
            assert relative_error(gradient, ours[name]) < 1e-9, name


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_parameters_and_state_after_the_iteration_are_ours(iteration, network):
    found, ours = iteration.states(network)
    for name, value in found.items():
        if not name.endswith("num_batches_tracked"):
            assert relative_error(value, ours[name]) < 1e-8, name


def test_all_features_of_vgg19_are_ours():
    arrays = draw_vgg("conv5_1")
    image = np.random.default_rng(3).uniform(-1, 1, (1, 18, 16, 1)).astype("f4")
    network = reference.TorchVgg19Features(arrays)
    assert not any(p.requires_grad for p in network.parameters())
    found = network(torch.tensor(image.transpose(0, 3, 1, 2)))
    weights = prepare_weights(arrays, convention="torchvision")
    ours = jax.jit(vgg19_features)(weights, image)
    assert list(found) == [name.replace("relu", "conv") for name in sorted(ours)]
    assert reference.PERCEPTUAL_LAYERS == {
        name.replace("relu", "conv"): x for name, x in REFERENCE_LAYER_WEIGHTS.items()
    }
    for name, feature in ours.items():
        other = found[name.replace("relu", "conv")].numpy().transpose(0, 2, 3, 1)
        assert relative_error(other, feature) < 1e-5


def test_memory_layout_and_fused_adam_change_no_value():
    labels, image = draw_batch()
    image = image.astype(np.float64)
    for array in (labels, image):
        array.setflags(write=False)  # as batches that come out of a memory map
    with torch_in_float64():
        plain = reference.TorchGan(CLASSES, 2)
        other = reference.TorchGan(CLASSES, 2, channels_last=True, fused_adam=True)
        copy_networks(plain, other)
        for _ in range(2):
            expected = plain.train_step(labels, image)
            found = other.train_step(labels, image)
    kernel = other.generator.up_0.conv_0.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert set(found) == set(expected)
    for name, loss in found.items():
        np.testing.assert_allclose(loss, expected[name], rtol=1e-6)


def copy_networks(source: Any, target: Any) -> None:
    for name in ("generator", "discriminator"):
        getattr(target, name).load_state_dict(getattr(source, name).state_dict())


def test_bfloat16_keeps_parameters_losses_and_images_in_float32():
    labels, image = draw_batch()
    gan = reference.TorchGan(CLASSES, 2, autocast=True, vgg=draw_vgg("conv2_1"))
    losses = gan.train_step(labels, image)
    exact = reference.TorchGan(CLASSES, 2, vgg=draw_vgg("conv2_1"))
    copy_networks(gan, exact)
    assert {x.dtype for x in losses.values()} == {torch.float32}
    assert all(torch.isfinite(x) for x in losses.values())
    parameters = [*gan.generator.parameters(), *gan.discriminator.parameters()]
    assert {x.dtype for x in parameters} == {torch.float32}
    found, expected = gan.synthesize(labels), exact.synthesize(labels)
    assert found.dtype == torch.float32
    assert 0 < relative_error(found.numpy(), expected.numpy()) < 0.05


def test_inference_keeps_the_state_and_the_next_step_trains():
    labels, image = draw_batch()
    gan = reference.TorchGan(CLASSES, 2)
    before = {n: x.copy() for n, x in arrays_of(gan.generator).items()}
    assert gan.synthesize(labels).is_inference()
    after = arrays_of(gan.generator)
    assert all(np.array_equal(before[n], after[n]) for n in before)
    gan.train_step(labels, image)
    assert not np.array_equal(before["up_0.conv_0.u"], after["up_0.conv_0.u"])
    assert gan.synthesize(torch.tensor(labels)).shape == (BATCH, SIDE, SIDE, 1)


def test_parameter_counts():
    with torch.device("meta"):
        networks = (
            reference.TorchSpadeGenerator(9),
            reference.TorchMultiscaleDiscriminator(9),
        )
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [92_238_145, 5_542_018]


def test_variables_that_do_not_fit_are_refused():
    network = reference.TorchMultiscaleDiscriminator(3, 2)
    with pytest.raises(ValueError, match="no params/discriminator_0/model0/kernel"):
        reference.load_variables(network, {"params": {}})
    kernel = {"kernel": np.zeros((4, 4, 3, 2))}
    variables = {"params": {"discriminator_0": {"model0": kernel}}}
    message = r"model0.weight is \[2, 4, 4, 4\], found \[2, 3, 4, 4\]"
    with pytest.raises(ValueError, match=message):
        reference.load_variables(network, variables)
