"""One update of both networks against plain pieces put together here.

The reference scores fake and real in separate forwards with u and v moved beforehand,
writes the losses out, and applies momentum in NumPy; no part of it is the step's own.
"""

import dataclasses
import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cmrjax.models.vgg19 import prepare_weights
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_step import GanStep
from cmrjax.training.state import GanState
from tests.models.numpy_layers import relative_error
from tests.training.tiny_gan import copy_of, draw_batch, draw_state, make_trainer

KEY = jax.random.key(7)
METRICS = {
    "g_loss",
    "g_loss_adversarial",
    "g_loss_feature_matching",
    "g_grad_norm",
    "d_loss",
    "d_loss_fake",
    "d_loss_real",
    "d_accuracy_fake",
    "d_accuracy_real",
    "d_grad_norm",
}
MUTABLE = ("batch_stats", "spectral")


class StubGenerator(nn.Module):
    """A bias per pixel value, a latent shift, and a count of its training forwards."""

    latent_size: int = 0
    dtype: str = "float32"

    @property
    def architecture(self):
        return types.SimpleNamespace(latent_size=self.latent_size, out_channels=1)

    @nn.compact
    def __call__(self, label_map, latent=None, *, train):
        value = self.param("value", nn.initializers.constant(0.25), ())
        passes = self.variable("batch_stats", "passes", jnp.zeros, ())
        last = self.variable("spectral", "last_value", jnp.zeros, ())
        if train and not self.is_initializing():
            passes.value += 1
            last.value = jax.lax.stop_gradient(value)
        image = value * jnp.ones((*label_map.shape, 1))
        return image if latent is None else image + 0.0 * latent[0, 0] + latent.mean()


class StubDiscriminator(nn.Module):
    """Its logits are weight * image; it counts its training forwards."""

    @nn.compact
    def __call__(self, label_map, image, *, train):
        weight = self.param("weight", nn.initializers.constant(0.5), ())
        passes = self.variable("spectral", "passes", jnp.zeros, ())
        if train and not self.is_initializing():
            passes.value += 1
        y = weight * image
        return ((2 * y, y),)


def stub_step(generator=None, accumulation=1, **objective):
    """Compiled step and state of the stubs, plain SGD with rates 0.1 and 0.2."""
    generator, discriminator = generator or StubGenerator(), StubDiscriminator()
    g_optimizer, d_optimizer = optax.sgd(0.1), optax.sgd(0.2)
    labels, image = jnp.zeros((2, 4, 4), jnp.uint8), jnp.zeros((2, 4, 4, 1))
    size = generator.latent_size
    latent = jnp.zeros((2, size)) if size else None
    g = dict(generator.init(jax.random.key(0), labels, latent, train=False))
    d = dict(discriminator.init(jax.random.key(0), labels, image, train=False))
    state = GanState(
        step=jnp.zeros((), jnp.int32),
        g_variables=g,
        d_variables=d,
        g_opt_state=g_optimizer.init(g["params"]),
        d_opt_state=d_optimizer.init(d["params"]),
    )
    step = GanStep(
        generator,  # type: ignore[arg-type]
        discriminator,  # type: ignore[arg-type]
        g_optimizer,
        d_optimizer,
        GanObjective(**objective),
        accumulation=accumulation,
    )
    return jax.jit(step), state


def stub_batch(valid=True):
    return {
        "label_map": jnp.zeros((2, 4, 4), jnp.uint8),
        "image": jnp.full((2, 4, 4, 1), 0.75),
        "valid_mask": jnp.full((2, 4, 4, 1), valid),
    }


@pytest.mark.parametrize("passes", [1, 2])
def test_order_of_updates_by_hand(passes):
    """G = -w v + 10 |2 w (v - x)|; with two passes D sees the new v, else the old."""
    step, state = stub_step(generator_passes=passes)
    after, metrics = step(state, None, stub_batch(), KEY)
    w, v, x = 0.5, 0.25, 0.75
    np.testing.assert_allclose(metrics["g_loss_adversarial"], -w * v, rtol=1e-6)
    np.testing.assert_allclose(
        metrics["g_loss_feature_matching"], 10 * 2 * w * (x - v), rtol=1e-6
    )
    new_v = v - 0.1 * (-w - 10 * 2 * w)
    seen = new_v if passes == 2 else v
    np.testing.assert_allclose(after.g_variables["params"]["value"], new_v, rtol=1e-6)
    d_fake, d_real = max(0.0, 1 + w * seen), 1 - w * x
    np.testing.assert_allclose(metrics["d_loss_fake"], d_fake, rtol=1e-6)
    np.testing.assert_allclose(metrics["d_loss_real"], d_real, rtol=1e-6)
    np.testing.assert_allclose(metrics["d_loss"], d_fake + d_real, rtol=1e-6)
    new_w = w - 0.2 * (seen - x)
    np.testing.assert_allclose(after.d_variables["params"]["weight"], new_w, rtol=1e-5)
    # Each forward moves the state once.
    assert after.g_variables["batch_stats"]["passes"] == passes
    assert after.d_variables["spectral"]["passes"] == passes
    np.testing.assert_allclose(
        after.g_variables["spectral"]["last_value"], seen, rtol=1e-6
    )
    assert after.step == 1
    assert jnp.asarray(after.step).dtype == jnp.int32
    np.testing.assert_allclose(metrics["g_grad_norm"], 10.5, rtol=1e-6)
    np.testing.assert_allclose(metrics["d_grad_norm"], abs(seen - x), rtol=1e-5)
    assert metrics["d_accuracy_fake"] == 0  # w v > 0 is taken for real
    assert metrics["d_accuracy_real"] == 1


@pytest.mark.parametrize("passes", [1, 2])
def test_parts_of_a_batch_make_the_same_update_where_no_norm_is_over_it(passes):
    step, state = stub_step(generator_passes=passes)
    whole, metrics = step(state, None, stub_batch(), KEY)
    step, state = stub_step(generator_passes=passes, accumulation=2)
    parts, of_parts = step(state, None, stub_batch(), KEY)
    for name, value in metrics.items():
        np.testing.assert_allclose(of_parts[name], value, rtol=1e-5, err_msg=name)
    for field in ("g_variables", "d_variables"):
        params = [getattr(x, field)["params"] for x in (parts, whole)]
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), *params)
    # Each part's forward moves the state once.
    assert parts.g_variables["batch_stats"]["passes"] == 2 * passes
    assert parts.d_variables["spectral"]["passes"] == 2 * passes


def test_reduction_and_weights_reach_the_losses():
    step, state = stub_step(feature_matching_weight=0.0, reduction="sum")
    after, metrics = step(state, None, stub_batch(), KEY)
    assert metrics["g_loss_feature_matching"] == 0
    assert metrics["g_loss"] == -0.125
    np.testing.assert_allclose(
        after.g_variables["params"]["value"], 0.25 + 0.1 * 0.5, rtol=1e-6
    )


def test_padding_everywhere_leaves_g_without_a_gradient():
    step, state = stub_step()
    after, metrics = step(state, None, stub_batch(valid=False), KEY)
    assert metrics["g_grad_norm"] == 0
    assert after.g_variables["params"]["value"] == 0.25
    # D sees the same on both sides.
    assert metrics["d_grad_norm"] == 0


def test_the_latent_depends_on_the_step_and_on_the_key():
    step, state = stub_step(StubGenerator(latent_size=3))

    def loss(number, key):
        numbered = dataclasses.replace(state, step=jnp.asarray(number, jnp.int32))
        return float(step(numbered, None, stub_batch(), key)[1]["g_loss_adversarial"])

    values = [loss(0, KEY), loss(1, KEY), loss(0, jax.random.key(8))]
    assert len(set(values)) == 3
    assert loss(0, KEY) == values[0]


# The real networks.


@pytest.fixture(scope="module")
def trainer():
    return make_trainer()


@pytest.fixture(scope="module")
def start(trainer):
    return draw_state(trainer)


@pytest.fixture(scope="module")
def compiled(trainer):
    return trainer.compile(None, KEY)


@pytest.fixture(scope="module")
def run(trainer, compiled):
    """Steps from a state that is kept."""

    def steps(state, *batches):
        state, metrics = copy_of(state), {}
        for batch in batches:
            placed = trainer.placement.put_batch(batch)
            state, metrics = compiled.function(state, None, placed, KEY)
        return state, metrics

    return steps


@pytest.fixture(scope="module")
def reference(trainer):
    """G's part and D's part of an update, from applies and formulas."""
    generator, discriminator = trainer.generator, trainer.discriminator

    def score(params, spectral, labels, image):
        variables = {"params": params, "spectral": spectral}
        return discriminator.apply(variables, labels, image, train=False)

    def move(variables, labels, image):
        _, changed = discriminator.apply(
            variables, labels, image, train=True, mutable=["spectral"]
        )
        return changed["spectral"]

    def generate(params, variables, batch):
        return generator.apply(
            {**variables, "params": params},
            batch["label_map"],
            train=True,
            mutable=list(MUTABLE),
        )

    @jax.jit
    def g_part(g_variables, d_variables, batch):
        labels, real, valid = (batch[k] for k in ("label_map", "image", "valid_mask"))
        spectral = move(d_variables, labels, real)

        def loss(params):
            fake, changed = generate(params, g_variables, batch)
            mixed = valid * fake + (1 - valid) * real
            fakes = score(d_variables["params"], spectral, labels, mixed)
            reals = score(d_variables["params"], spectral, labels, real)
            total = jnp.float32(0)
            for a, b in zip(fakes, reals, strict=True):
                total += -a[4].mean() / 2
                for i in range(4):
                    total += 10 * jnp.abs(a[i] - jax.lax.stop_gradient(b[i])).mean() / 2
            return total, changed

        (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(
            g_variables["params"]
        )
        return value, grads, changed, spectral

    @jax.jit
    def d_part(g_variables, d_variables, batch):
        labels, real, valid = (batch[k] for k in ("label_map", "image", "valid_mask"))
        fake, changed = generate(g_variables["params"], g_variables, batch)
        mixed = valid * fake + (1 - valid) * real
        spectral = move(d_variables, labels, real)

        def loss(params):
            fakes = score(params, spectral, labels, mixed)
            reals = score(params, spectral, labels, real)
            total, right = jnp.float32(0), []
            for a, b in zip(fakes, reals, strict=True):
                total += jax.nn.relu(1 + a[4]).mean() / 2
                total += jax.nn.relu(1 - b[4]).mean() / 2
                right.append((jnp.mean(a[4] < 0), jnp.mean(b[4] > 0)))
            return total, jnp.asarray(right)

        (value, right), grads = jax.value_and_grad(loss, has_aux=True)(
            d_variables["params"]
        )
        return value, grads, right, changed, spectral

    def momentum(params, trace, grads):
        trace = jax.tree.map(lambda t, g: 0.9 * t + np.asarray(g), trace, grads)
        return jax.tree.map(lambda p, t: p - 1e-3 * t, params, trace), trace

    def step(g, d, g_trace, d_trace, batch):
        g_value, g_grads, g_changed, spectral = g_part(g, d, batch)
        params, g_trace = momentum(g["params"], g_trace, g_grads)
        g = {**g, **g_changed, "params": params}
        d = {**d, "spectral": spectral}
        d_value, d_grads, right, g_changed, spectral = d_part(g, d, batch)
        params, d_trace = momentum(d["params"], d_trace, d_grads)
        g, d = {**g, **g_changed}, {"params": params, "spectral": spectral}
        return g, d, g_trace, d_trace, (g_value, d_value, np.asarray(right).mean(0))

    return types.SimpleNamespace(step=step, d_part=d_part)


def test_two_updates_agree_with_the_plain_reference(trainer, start, run, reference):
    batches = [draw_batch(0), draw_batch(1)]
    state, metrics = run(start, *batches)
    g, d = jax.device_get((start.g_variables, start.d_variables))
    g_trace = jax.tree.map(np.zeros_like, g["params"])
    d_trace = jax.tree.map(np.zeros_like, d["params"])
    for batch in batches:
        g, d, g_trace, d_trace, values = reference.step(g, d, g_trace, d_trace, batch)
    g_value, d_value, right = values
    np.testing.assert_allclose(metrics["g_loss"], g_value, rtol=1e-5)
    np.testing.assert_allclose(metrics["d_loss"], d_value, rtol=1e-5)
    np.testing.assert_allclose(metrics["d_accuracy_fake"], right[0], atol=0.02)
    np.testing.assert_allclose(metrics["d_accuracy_real"], right[1], atol=0.02)
    for ours, theirs, before in (
        (state.g_variables, g, start.g_variables),
        (state.d_variables, d, start.d_variables),
    ):
        moved = jax.tree.map(lambda a, b: np.asarray(a) - b, theirs, before)
        found = jax.tree.map(lambda a, b: np.asarray(a) - b, ours, before)
        for collection in before:
            a, b = (
                np.concatenate([np.ravel(x) for x in jax.tree.leaves(t[collection])])
                for t in (found, moved)
            )
            assert relative_error(a, b) < 2e-3, collection
    assert state.step == 2


def test_one_pass_updates_both_networks_as_they_stand(trainer, start, run, reference):
    """G as with two passes; D by the plain loss of the old G's images."""
    batch = draw_batch(0)
    one = make_trainer(generator_passes=1)
    step = one.compile(None, KEY).function
    placed = one.placement.put_batch(batch)
    state, metrics = step(copy_of(start), None, placed, KEY)
    two, expected = run(start, batch)
    for name in ("g_loss", "g_grad_norm"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves(state.g_variables["params"]),
        jax.tree.leaves(two.g_variables["params"]),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    value, grads, right, _, spectral = reference.d_part(
        start.g_variables, start.d_variables, batch
    )
    np.testing.assert_allclose(metrics["d_loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["d_accuracy_fake"], right[:, 0].mean())
    np.testing.assert_allclose(metrics["d_accuracy_real"], right[:, 1].mean())
    params = start.d_variables["params"]
    for name, found, expected in (
        ("params", params, jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)),
        ("spectral", start.d_variables["spectral"], spectral),
    ):
        moved = [
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
            for tree in (state.d_variables[name], expected, found)
        ]
        error = relative_error(moved[0] - moved[2], moved[1] - moved[2])
        assert error < 2e-3, name


def test_metrics_and_determinism(start, run):
    first, metrics = run(start, draw_batch(3))
    second, again = run(start, draw_batch(3))
    assert set(metrics) == METRICS
    assert {(x.shape, x.dtype.name) for x in metrics.values()} == {((), "float32")}
    assert all(np.isfinite(x) for x in metrics.values())
    for a, b in zip(
        jax.tree.leaves((first, metrics)), jax.tree.leaves((second, again)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_padding_pixels_of_the_fake_take_no_part(trainer, start, run):
    """Where nothing is valid, G keeps its parameters exactly."""
    state, metrics = run(start, draw_batch(0, padding=64))
    assert metrics["g_grad_norm"] == 0
    assert metrics["g_loss_feature_matching"] == 0
    kept = jax.tree.map(
        jnp.array_equal, state.g_variables["params"], start.g_variables["params"]
    )
    assert jax.tree.all(kept)


def test_perceptual_term_joins_when_there_are_weights(trainer):
    rng = np.random.default_rng(0)
    vgg = prepare_weights(
        {
            "conv1_1.kernel": rng.normal(0, 0.2, (3, 3, 3, 64)).astype(np.float32),
            "conv1_1.bias": rng.normal(0, 0.2, 64).astype(np.float32),
        },
        convention="torchvision",
    )
    step, state = stub_step(perceptual_weight=3.0, generator_passes=1)
    _, without = step(state, None, stub_batch(), KEY)
    _, with_vgg = step(state, vgg, stub_batch(), KEY)
    paper, _ = stub_step(
        perceptual_weight=3.0, generator_passes=1, perceptual_layers="paper"
    )
    _, with_paper = paper(state, vgg, stub_batch(), KEY)
    assert set(with_vgg) - set(without) == {"g_loss_perceptual"}
    term = float(with_vgg["g_loss_perceptual"])
    assert term > 0
    np.testing.assert_allclose(with_paper["g_loss_perceptual"], 32 * term, rtol=1e-5)
    np.testing.assert_allclose(with_vgg["g_loss"] - without["g_loss"], term, rtol=1e-4)
    assert with_vgg["g_grad_norm"] != without["g_grad_norm"]


def test_objective_errors():
    with pytest.raises(ValueError, match="generator_passes is 3; expected 1 or 2"):
        GanObjective(generator_passes=3)
    with pytest.raises(ValueError, match=r"perceptual_layers is 'mine'.*'paper'"):
        GanObjective(perceptual_layers="mine")
