"""What is timed of this library: the step, the step with its loader, synthesis."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.models.neighbourhood_table import build_table
from cmrjax.models.vgg19 import LAYER_WIDTHS
from cmrjax.synthesis.params import ModelOrigin, ModelParams
from cmrjax.synthesis.sample import plan_batches, synthesize
from cmrjax.training.description import ModelDescription
from cmrjax.training.gan_trainer import GanTrainer
from experiments.configs.base import Config
from experiments.gan_data import make_iterator


def draw_vgg19(seed: int = 0) -> dict[str, np.ndarray]:
    """Draws weights of VGG19's full size, torchvision's convention.

    Returns:
      As for `cmrjax.models.vgg19.prepare_weights`; features keep the image's scale.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, (c_in, c_out) in LAYER_WIDTHS.items():
        scale = np.float32(np.sqrt(2 / (9 * c_in)))
        kernel = rng.standard_normal((3, 3, c_in, c_out), np.float32)
        arrays[f"{name}.kernel"] = scale * kernel
        arrays[f"{name}.bias"] = np.zeros(c_out, np.float32)
    return arrays


def with_variant(trainer: GanTrainer, *, dtype: str, passes: int) -> GanTrainer:
    """Returns the trainer with another dtype of activations and number of passes."""
    return dataclasses.replace(
        trainer,
        generator=trainer.generator.clone(dtype=jnp.dtype(dtype)),
        discriminator=trainer.discriminator.clone(dtype=jnp.dtype(dtype)),
        objective=dataclasses.replace(trainer.objective, generator_passes=passes),
    )


class StepRunner:
    """The training iteration on batches that are on the device already.

    Args:
      label: unique name.
      trainer: of this variant.
      vgg: weights of the perceptual loss, or None.
      batches: on the host, used in turn.
      state: at step 0, on the host, copied; None draws it.
      seed: of the run's key.
    """

    def __init__(
        self,
        label: str,
        trainer: GanTrainer,
        vgg: Any,
        *,
        batches: list[dict],
        state: Any = None,
        seed: int = 0,
    ) -> None:
        self.label, self.trainer = label, trainer
        place = trainer.placement
        self._vgg, self._key = place.replicate((vgg, jax.random.key(seed)))
        self.compiled = trainer.compile(self._vgg, self._key)
        if state is None:
            self._state = trainer.init(jax.random.key(seed))
        else:  # copied, since the step is given the state's memory
            self._state = place.replicate(jax.tree.map(jnp.array, state))
        self._batches = [place.put_batch(batch) for batch in batches]
        self._count = 0
        self.first_losses: dict[str, float] | None = None

    @property
    def program_bytes(self) -> int:
        """Memory of a device that the step takes: arguments, results, temporaries."""
        return self.compiled.program_bytes

    @property
    def state(self) -> Any:
        """The state after the steps so far, on the devices."""
        return self._state

    def advance(self, batch: dict) -> dict:
        """Starts one step on a placed batch; returns its metrics, not waited for."""
        step = self.compiled.function
        self._state, metrics = step(self._state, self._vgg, batch, self._key)
        return metrics

    def run(self, iterations: int) -> None:
        """Does steps and waits for the last."""
        metrics = {}
        for _ in range(iterations):
            metrics = self.advance(self._batches[self._count % len(self._batches)])
            self._count += 1
        jax.block_until_ready((self._state, metrics))
        if self.first_losses is None:
            self.first_losses = {name: float(x) for name, x in metrics.items()}

    def is_finite(self) -> bool:
        """Whether the parameters of G are numbers still."""
        leaves = jax.tree.leaves(self._state.g_variables["params"])
        return all(bool(jnp.isfinite(x).all()) for x in leaves)


class LoaderRunner:
    """The same step fed by the Grain pipeline, as the training loop does it.

    Args:
      label: unique name.
      step: whose compiled step and state are used.
      source: slices.
      config: the loader's settings.
    """

    def __init__(
        self, label: str, step: StepRunner, source: Any, config: Config
    ) -> None:
        self.label, self._step = label, step
        self._iterator = make_iterator(config, source)
        self.prefetch = config.data.prefetch
        self.waits: list[float] = []

    def run(self, iterations: int) -> None:
        """Does steps, looking at each one's metrics while the next is under way."""
        pending: Any = None
        names, waited = ("label_map", "image", "valid_mask"), 0.0
        for _ in range(iterations):
            start = time.perf_counter()
            batch = next(self._iterator)
            waited += time.perf_counter() - start
            placed = {name: batch[name] for name in names}
            metrics = self._step.advance(self._step.trainer.placement.put_batch(placed))
            jax.device_get(pending)
            pending = metrics
        jax.block_until_ready((self._step.state, pending))
        self.waits.append(waited / iterations)

    def seconds_alone(self) -> float:
        """Times the pipeline without a step: seconds per batch, past the prefetched."""
        for _ in range(self.prefetch + 1):
            next(self._iterator)
        count, start = 10, time.perf_counter()
        for _ in range(count):
            next(self._iterator)
        return (time.perf_counter() - start) / count

    def close(self) -> None:
        """Stops the pipeline's threads."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


class InferenceRunner:
    """The public `synthesize` on a batch of label maps, from host to host.

    Args:
      label: unique name.
      params: the model.
      batches: of label maps on the host, used in turn.
      dtype: of activations.
    """

    def __init__(
        self,
        label: str,
        params: ModelParams,
        batches: list[dict],
        *,
        dtype: str = "float32",
    ) -> None:
        self.label, self.dtype, self._params = label, dtype, params
        self._maps = [batch["label_map"] for batch in batches]
        self._count = 0
        self.first_seconds = 0.0  # with compilation

    def run(self, iterations: int) -> None:
        """Synthesises so many batches."""
        for _ in range(iterations):
            self.images(self._maps[self._count % len(self._maps)])
            self._count += 1

    def images(self, label_map: np.ndarray) -> np.ndarray:
        """Returns images [b, h, w] float32."""
        latent = self._params.description.architecture.latent_size
        key = jax.random.key(0) if latent else None
        size, start = len(label_map), time.perf_counter()
        images = synthesize(
            label_map, self._params, batch_size=size, key=key, dtype=self.dtype
        )
        self.first_seconds = self.first_seconds or time.perf_counter() - start
        return images


def make_params(trainer: GanTrainer, schema: Any, variables: Any) -> ModelParams:
    """Makes a model of host variables, on the default device."""
    architecture = trainer.generator.architecture
    description = ModelDescription(schema, architecture, trainer.image_size)
    placed = jax.device_put(variables, jax.devices()[0])
    return ModelParams(placed, description, ModelOrigin("untrained", 0))


def tables_fit(
    rows: Any, groups: int, batches: list[np.ndarray], num_classes: int
) -> bool:
    """Whether every batch fits into its tables; one that does not runs dense."""
    for height, capacity in rows:
        for batch in batches:
            stride = batch.shape[1] // height
            labels = jnp.asarray(batch[:, ::stride, ::stride])
            table = build_table(
                labels, num_classes=num_classes, rows=capacity, groups=groups
            )
            if not bool(table.fits):
                return False
    return True


def synthesis_shapes(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Shapes of the batches in which `synthesize` works off a batch [b, h, w]."""
    b, h, w = shape
    return [(bucket, h, w) for _, _, bucket in plan_batches(b, b)]
