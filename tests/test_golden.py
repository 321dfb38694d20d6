"""Both networks and losses against numbers of the public PyTorch SPADE.

tests/golden/spade_reference_nf2_64.npz: generator nf 2, discriminator ndf 4, 9 classes,
1 channel, 64 x 64, batch 2, float32 on a CPU. Errors are relative norms per array.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cmrjax.losses.adversarial import hinge_fake, hinge_generator, hinge_real
from cmrjax.losses.feature_matching import feature_matching_loss
from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
    discriminate_pair,
)
from cmrjax.models.interchange import from_torch_names
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator

FILE = pathlib.Path(__file__).parent / "golden" / "spade_reference_nf2_64.npz"
GENERATOR = SpadeGenerator(GeneratorArchitecture(9, 2))
DISCRIMINATOR = MultiscaleDiscriminator(DiscriminatorArchitecture(9, 4))


class Golden:
    """The file, by groups of names."""

    def __init__(self) -> None:
        with np.load(FILE) as file:
            self.arrays = dict(file)
        self.labels = jnp.asarray(self["input/label_map"])
        self.real = jnp.asarray(self["input/real_image"].transpose(0, 2, 3, 1))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        start = len(prefix) + 1
        found = {
            name[start:]: value
            for name, value in self.arrays.items()
            if name.startswith(prefix + "/")
        }
        assert found, prefix
        return found


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="module")
def computed(golden):
    """One forward of both networks, the losses and both sets of gradients."""
    g_variables = from_torch_names(golden.group("g_before"))
    d_variables = from_torch_names(golden.group("d_before"))

    def g_loss(params):
        fake, g_changed = GENERATOR.apply(
            {**g_variables, "params": params},
            golden.labels,
            train=True,
            mutable=["batch_stats", "spectral"],
        )
        fakes, reals, d_changed = discriminate_pair(
            DISCRIMINATOR,
            d_variables,
            golden.labels,
            fake,
            golden.real,
            real_gradient=False,
        )
        adversarial = hinge_generator([scale[-1] for scale in fakes])
        matching = 10.0 * feature_matching_loss(fakes, reals)
        return adversarial + matching, {
            "fake": fake,
            "features": {"fake": fakes, "real": reals},
            "g_changed": g_changed,
            "d_changed": d_changed,
            "g_adversarial": adversarial,
            "g_feature_matching": matching,
        }

    def d_loss(params, fake):
        fakes, reals, _ = discriminate_pair(
            DISCRIMINATOR,
            {**d_variables, "params": params},
            golden.labels,
            jax.lax.stop_gradient(fake),
            golden.real,
            real_gradient=True,
        )
        d_fake = hinge_fake([scale[-1] for scale in fakes])
        d_real = hinge_real([scale[-1] for scale in reals])
        return d_fake + d_real, {"d_fake": d_fake, "d_real": d_real}

    @jax.jit
    def everything(g_params, d_params):
        g_grads, results = jax.grad(g_loss, has_aux=True)(g_params)
        d_grads, d_losses = jax.grad(d_loss, has_aux=True)(d_params, results["fake"])
        return {**results, **d_losses, "grad_g": g_grads, "grad_d": d_grads}

    return jax.device_get(everything(g_variables["params"], d_variables["params"]))


def relative_error(value, reference) -> float:
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    assert value.shape == reference.shape
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def channels_first(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def evaluate(golden):
    @jax.jit
    def run(variables):
        return GENERATOR.apply(variables, golden.labels, train=False)

    return lambda state: channels_first(run(from_torch_names(state)))


def test_evaluation_with_random_vectors_has_the_same_signs(golden, evaluate):
    image = evaluate(golden.group("g_before"))
    flipped = np.sum(np.sign(image) != np.sign(golden["eval/fake_image"]))
    assert flipped <= 1


def test_evaluation_with_moved_state(golden, evaluate):
    before, after = golden.group("g_before"), golden.group("g_after")
    assert set(after) < set(before)
    image = evaluate({**before, **after})
    assert relative_error(image, golden["eval_after/fake_image"]) < 1e-5


def test_training_image(golden, computed):
    image = channels_first(computed["fake"])
    assert relative_error(image, golden["train/fake_image"]) < 1e-5


def test_every_discriminator_output(golden, computed):
    compared = 0
    for side, scales in computed["features"].items():
        for i, scale in enumerate(scales):
            for j, feature in enumerate(scale):
                reference = golden[f"train/d{i}_feature{j}_{side}"]
                assert relative_error(channels_first(feature), reference) < 1e-5
                compared += 1
    assert compared == sum(name.startswith("train/d") for name in golden.arrays) == 20


@pytest.mark.parametrize(
    "term", ["g_adversarial", "g_feature_matching", "d_fake", "d_real"]
)
def test_losses(golden, computed, term):
    np.testing.assert_allclose(computed[term], golden[f"loss/{term}"], rtol=1e-5)


@pytest.mark.parametrize("network", ["g", "d"])
def test_gradients(golden, computed, network):
    names = golden.group(f"grad_{network}")
    reference: Any = flatten_dict(from_torch_names(names)["params"])
    gradients: Any = flatten_dict(computed[f"grad_{network}"])
    assert len(reference) == len(names)
    zero = 0
    for path, expected in reference.items():
        if np.abs(expected).max() < 1e-6:  # zero in theory
            zero += 1
            assert np.abs(gradients[path]).max() < 1e-6, path
        else:
            assert relative_error(gradients[path], expected) < 1e-4, path
    assert zero == {"g": 14, "d": 1}[network]
    if network == "d":
        assert set(reference) == set(gradients)


@pytest.mark.parametrize("network", ["g", "d"])
def test_changed_state(golden, computed, network):
    before = golden.group(f"{network}_before")
    after = {
        name: value
        for name, value in golden.group(f"{network}_after").items()
        if not name.endswith("num_batches_tracked")
    }
    tree = from_torch_names({**before, **after})
    compared = 0
    for collection, changed in computed[f"{network}_changed"].items():
        expected = flatten_dict(tree[collection])
        assert flatten_dict(changed).keys() == expected.keys()
        for path, value in flatten_dict(changed).items():
            assert relative_error(value, expected[path]) < 1e-5, (collection, path)
            compared += 1
    assert compared == len(after)


LABELS = jax.ShapeDtypeStruct((1, 64, 64), "uint8")


def count(variables) -> int:
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("num_classes", "channels", "expected"),
    [
        (4, 3, 92_089_539),
        (9, 1, 92_238_145),
        (10, 1, 92_268_097),
        (4, 1, 92_088_385),
    ],
)
def test_generator_parameter_counts(num_classes, channels, expected):
    arch = GeneratorArchitecture(num_classes, out_channels=channels)
    variables = jax.eval_shape(
        lambda key, labels: SpadeGenerator(arch).init(key, labels, train=False),
        jax.random.key(0),
        LABELS,
    )
    assert count(variables) == expected


@pytest.mark.parametrize(
    ("num_classes", "channels", "expected"),
    [(4, 3, 5_535_874), (9, 1, 5_542_018), (10, 1, 5_544_066), (4, 1, 5_531_778)],
)
def test_discriminator_parameter_counts(num_classes, channels, expected):
    network = MultiscaleDiscriminator(DiscriminatorArchitecture(num_classes))
    variables = jax.eval_shape(
        lambda key, labels, image: network.init(key, labels, image, train=False),
        jax.random.key(0),
        LABELS,
        jax.ShapeDtypeStruct((1, 64, 64, channels), "float32"),
    )
    assert count(variables) == expected
