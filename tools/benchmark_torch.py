"""What is timed of the PyTorch reference, in several variants."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from cmrjax.training.gan_trainer import GanTrainer
from experiments.configs.base import Config

REFERENCE = "reference"
OPTIONS = ("channels_last", "compile", "autocast", "fused_adam")
# The last is everything at once, where it is supported.
DEFAULT_VARIANTS = {
    "cpu": (REFERENCE, "channels_last"),
    "cuda": (REFERENCE, *OPTIONS[:3], "channels_last+compile+autocast+fused_adam"),
}
INSTALL = (
    "--compare=torch needs PyTorch: pip install torch (without a GPU: pip install torch"
    " --index-url https://download.pytorch.org/whl/cpu)"
)


def find_device() -> str:
    """Returns where PyTorch is to run: on the kind of device that JAX uses.

    Raises:
      ValueError: PyTorch is not installed, or sees no GPU where JAX has one.
    """
    if importlib.util.find_spec("torch") is None:
        raise ValueError(INSTALL)
    if jax.default_backend() == "cpu":
        return "cpu"
    if not _torch().cuda.is_available():
        raise ValueError(
            "--compare=torch: JAX runs on a GPU and PyTorch sees none; install "
            "PyTorch's CUDA build (pip install torch), or set JAX_PLATFORMS=cpu"
        )
    return "cuda"


def parse_variants(names: Sequence[str], device: str) -> dict[str, dict[str, bool]]:
    """Reads variant names, "reference" or options joined by "+".

    Args:
      names: () for the defaults of the device.
      device: "cpu" or "cuda".

    Returns:
      Options of `TorchGan` by name; the reference is always there, and first.

    Raises:
      ValueError: a name is not known.
    """
    chosen: dict[str, dict[str, bool]] = {REFERENCE: {}}
    for name in names or DEFAULT_VARIANTS[device]:
        parts = [] if name == REFERENCE else name.split("+")
        unknown = [part for part in parts if part not in OPTIONS]
        if unknown:
            raise ValueError(
                f"--torch_variants: {unknown[0]!r} is not known; expected 'reference' "
                f"or some of {', '.join(OPTIONS)}, joined by '+'"
            )
        chosen[name] = dict.fromkeys(parts, True)
    return chosen


def check_comparable(config: Config) -> None:
    """Raises ValueError where the reference has no such network or loss."""
    expected = {
        "model.seed_stride": 32,
        "model.latent_size": 0,
        "model.paper_equation": False,
        "model.num_scales": 2,
        "loss.feature_matching_weight": 10.0,
        "loss.perceptual_layers": "reference",
        "loss.reduction": "mean",
    }
    for name, value in expected.items():
        section, key = name.split(".")
        if config[section][key] != value:
            raise ValueError(
                f"--compare=torch: config.{name} is {config[section][key]!r}; the "
                f"PyTorch networks have {value!r} only"
            )


def prepare_torch() -> None:
    """Lets all products of PyTorch on a GPU use TF32, as XLA does."""
    torch = _torch()
    torch.manual_seed(0)
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


class TorchVariant:
    """The PyTorch networks with the parameters of ours.

    Args:
      name: of the variant.
      options: of `TorchGan`.
      trainer: whose sizes are taken.
      state: of ours, on the host.
      vgg: arrays as for `cmrjax.models.vgg19.prepare_weights` (torchvision), or None.
      device: "cpu" or "cuda".
      batches: on the host; copied to the device.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, bool],
        *,
        trainer: GanTrainer,
        state: Any,
        vgg: Mapping[str, np.ndarray] | None,
        device: str,
        batches: list[dict],
    ) -> None:
        self.name = name
        self.dtype = "bfloat16" if options.get("autocast") else "float32"
        arch = trainer.generator.architecture
        reference = importlib.import_module("tools.torch_reference")
        self.gan: Any = reference.TorchGan(
            arch.num_classes, arch.base_features, device=device, vgg=vgg, **options
        )
        self.gan.load_jax(state.g_variables, state.d_variables)
        tensor, names = _torch().tensor, ("label_map", "image")
        self._maps = [batch["label_map"] for batch in batches]
        self._placed = [
            tuple(tensor(batch[name], device=device) for name in names)
            for batch in batches
        ]
        self._steps = self._syntheses = 0
        self.peak_device_bytes: int | None = None
        self.first_losses: dict[str, float] | None = None

    def step(self, iterations: int) -> None:
        """Does training iterations on data that are on the device, and waits."""
        losses = {}
        self._begin()
        for _ in range(iterations):
            pair = self._placed[self._steps % len(self._placed)]
            losses = self.gan.train_step(*pair)
            self._steps += 1
        self._finish()
        if self.first_losses is None:
            self.first_losses = {name: x.item() for name, x in losses.items()}

    def synthesize(self, iterations: int) -> None:
        """Synthesises batches, from host to host."""
        self._begin()
        for _ in range(iterations):
            self.images(self._maps[self._syntheses % len(self._maps)])
            self._syntheses += 1
        self._finish()

    def images(self, label_map: np.ndarray) -> np.ndarray:
        """Returns images [b, h, w] float32 of labels [b, h, w], on the host."""
        return self.gan.synthesize(label_map)[..., 0].cpu().numpy()

    def exact_images(self, label_map: np.ndarray) -> np.ndarray:
        """The same without TF32."""
        torch = _torch()
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        try:
            matmul.allow_tf32 = cudnn.allow_tf32 = False
            return self.images(label_map)
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def _begin(self) -> None:
        if self.gan.device.type == "cuda":
            _torch().cuda.reset_peak_memory_stats()

    def _finish(self) -> None:
        if self.gan.device.type == "cuda":
            cuda = _torch().cuda
            cuda.synchronize()
            peak = cuda.max_memory_allocated()
            self.peak_device_bytes = max(self.peak_device_bytes or 0, peak)


class TorchRunner:
    """One of the two works of a variant, to be timed.

    Args:
      label: unique name.
      variant: the networks.
      work: "step" or "inference".
    """

    def __init__(self, label: str, variant: TorchVariant, work: str) -> None:
        self.label, self.variant = label, variant
        self.run = variant.step if work == "step" else variant.synthesize


def _torch() -> Any:
    return importlib.import_module("torch")
