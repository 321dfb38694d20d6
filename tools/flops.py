"""Counts the arithmetic of a training iteration and of inference, by the shapes alone.

Counted are the multiply-adds of convolutions and of the products that stand for them.
Left out, since they come to about a hundredth: normalisations, activations, losses,
spectral normalisation's power steps, Adam. Zeros of the padding count as pixels. A
gradient costs as much as the forward pass for the kernel and once more for the input,
where the input needs one; what an implementation recomputes or does for nothing is not
counted. The iteration (SPEC 5):

    G's update  G forward, gradient of its parameters
                D forward on fake and real, gradient of the fake
                VGG19 forward on fake and real, gradient of the fake
    D's update  G forward once more, D forward on fake and real (two passes only)
                gradient of D's parameters

Dense: SPADE's gamma and beta by convolution at every pixel, as in the reference. With
tables: once for each row, where there is a table. One multiply-add is two operations.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from cmrjax.models.discriminator import DiscriminatorArchitecture
from cmrjax.models.spade import HIDDEN_FEATURES
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.table_size import table_for_unseen_maps
from cmrjax.models.vgg19 import LAYER_WIDTHS, Vgg19Weights
from cmrjax.training.gan_trainer import GanTrainer

MODULATION, CONVOLUTION = "modulation", "convolution"
TableRows = Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Layer:
    """The arithmetic of one layer for a whole batch.

    Attributes:
      kind: MODULATION (from labels to gamma and beta) or CONVOLUTION.
      height: rows of the image it works at.
      madds: multiply-adds of the forward pass.
      input_gradient: whether training needs the gradient of the input.
    """

    kind: str
    height: int
    madds: float
    input_gradient: bool = True


def forward(layers: Iterable[Layer]) -> float:
    """Multiply-adds of a forward pass."""
    return sum(layer.madds for layer in layers)


def parameter_gradient(layers: Iterable[Layer]) -> float:
    """Multiply-adds of the backward pass to the parameters."""
    return sum(layer.madds * (1 + layer.input_gradient) for layer in layers)


def generator_layers(
    architecture: GeneratorArchitecture,
    shape: tuple[int, int, int],
    *,
    table_rows: TableRows = (),
    groups: int = 1,
) -> tuple[Layer, ...]:
    """Lists the layers of G.

    Args:
      architecture: of G.
      shape: of the label maps, (b, h, w).
      table_rows: pairs (image height, rows of a table); () counts the dense path.
      groups: tables in a batch.

    Returns:
      The layers.
    """
    arch, (b, height, width) = architecture, shape
    nf, rows = arch.base_features, dict(table_rows)
    side = height // arch.seed_stride
    seed_pixels = b * side * (width // arch.seed_stride)
    first = b * arch.latent_size * 16 * nf * (seed_pixels // b)
    if not arch.latent_size:
        first = seed_pixels * 9 * arch.num_classes * 16 * nf
    layers = [Layer(CONVOLUTION, side, first, input_gradient=False)]
    for block_height, c_in, c_out in _generator_blocks(arch, side):
        pixels = b * block_height * (width * block_height // height)
        middle = min(c_in, c_out)
        norms = [c_in, middle] if c_in == c_out else [c_in, middle, c_in]
        for channels in norms:
            entries = groups * rows.get(block_height, 0)
            # A table's row needs the hidden layer at nine positions.
            hidden, values = (9 * entries, entries) if entries else (pixels, pixels)
            from_labels = hidden * 9 * arch.num_classes * HIDDEN_FEATURES
            to_both = values * 9 * HIDDEN_FEATURES * 2 * channels
            layers += [
                Layer(MODULATION, block_height, from_labels, input_gradient=False),
                Layer(MODULATION, block_height, to_both),
            ]
        kernels = 9 * c_in * middle + 9 * middle * c_out
        kernels += c_in * c_out if c_in != c_out else 0
        layers.append(Layer(CONVOLUTION, block_height, pixels * kernels))
    last = b * height * width * 9 * arch.last_features * arch.out_channels
    return (*layers, Layer(CONVOLUTION, height, last))


def _generator_blocks(
    arch: GeneratorArchitecture, side: int
) -> list[tuple[int, int, int]]:
    """Height, c_in and c_out of each SPADE block."""
    nf = arch.base_features
    second = 2 * side * (2 if arch.seed_stride >= 64 else 1)
    blocks = [(h, 16 * nf, 16 * nf) for h in (side, 2 * side, second)]
    for i, factor in enumerate((8, 4, 2, 1)):
        blocks.append((second << (i + 1), 2 * factor * nf, factor * nf))
    if arch.seed_stride == 128:
        blocks.append((second << 5, nf, nf // 2))
    return blocks


def discriminator_layers(
    architecture: DiscriminatorArchitecture,
    shape: tuple[int, int, int],
    *,
    image_channels: int = 1,
) -> tuple[Layer, ...]:
    """Lists the layers of all scales of D for label maps of a shape (b, h, w)."""
    ndf = architecture.base_features
    widths = [architecture.num_classes + image_channels, ndf, 2 * ndf, 4 * ndf]
    widths += [8 * ndf, 1]
    layers, (b, height, width) = [], shape
    for scale in range(architecture.num_scales):
        if scale:
            height, width = (height - 1) // 2 + 1, (width - 1) // 2 + 1
        h, w = height, width
        for i, stride in enumerate((2, 2, 2, 1, 1)):
            h, w = h // stride + 1, w // stride + 1
            madds = b * h * w * 16 * widths[i] * widths[i + 1]
            layers.append(Layer(CONVOLUTION, h, madds, input_gradient=i > 0))
    return tuple(layers)


def vgg19_layers(
    names: Sequence[str], shape: tuple[int, int, int], *, in_channels: int = 3
) -> tuple[Layer, ...]:
    """Lists the layers of VGG19, by name, for images of a shape (b, h, w)."""
    layers, (b, height, width) = [], shape
    for name in names:
        c_in, c_out = LAYER_WIDTHS[name]
        halvings = int(name[4]) - 1
        h, w = height >> halvings, width >> halvings
        c_in = in_channels if name == "conv1_1" else c_in
        layers.append(Layer(CONVOLUTION, h, b * h * w * 9 * c_in * c_out))
    return tuple(layers)


def iteration_flops(
    generator: Sequence[Layer],
    discriminator: Sequence[Layer],
    vgg19: Sequence[Layer] = (),
    *,
    generator_passes: int = 2,
) -> float:
    """Counts one training iteration from the layers for its batch.

    Args:
      generator: layers of G.
      discriminator: layers of D, for the fakes alone.
      vgg19: layers of VGG19, for the fakes alone; () without a perceptual loss.
      generator_passes: of an iteration, 1 or 2.

    Returns:
      Multiplications and additions.
    """
    madds = generator_passes * forward(generator) + parameter_gradient(generator)
    # Fakes and reals once for each update, or once for both; G's gradient through D.
    madds += 2 * generator_passes * forward(discriminator) + forward(discriminator)
    madds += 2 * parameter_gradient(discriminator)
    madds += 2 * forward(vgg19) + forward(vgg19)
    return 2.0 * madds


def step_flops(trainer: GanTrainer, vgg: Vgg19Weights | None, *, dense: bool) -> float:
    """Counts the iteration of a trainer.

    Args:
      trainer: networks, batch and number of passes.
      vgg: weights of the perceptual loss, or None.
      dense: as the reference computes it; otherwise with the trainer's tables, and
        VGG19's first layer on as many channels as the weights take.

    Returns:
      Multiplications and additions.
    """
    shape = (trainer.batch_size, trainer.image_size, trainer.image_size)
    arch, modulation = trainer.generator.architecture, trainer.generator.modulation
    tables = () if dense else getattr(modulation, "rows", ())
    perceptual: tuple[Layer, ...] = ()
    if vgg is not None:
        channels = 3 if dense else vgg.kernels["conv1_1"].shape[2]
        perceptual = vgg19_layers(vgg.layers, shape, in_channels=channels)
    return iteration_flops(
        generator_layers(
            arch, shape, table_rows=tables, groups=getattr(modulation, "groups", 1)
        ),
        discriminator_layers(
            trainer.discriminator.architecture, shape, image_channels=arch.out_channels
        ),
        perceptual,
        generator_passes=trainer.objective.generator_passes,
    )


def inference_flops(
    architecture: GeneratorArchitecture, shape: tuple[int, int, int], *, dense: bool
) -> float:
    """Counts what `cmrjax.synthesize` does for label maps of a shape (b, h, w)."""
    rows = () if dense else table_for_unseen_maps(architecture, shape).rows
    return 2.0 * forward(generator_layers(architecture, shape, table_rows=rows))
