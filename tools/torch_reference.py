"""The same networks, losses and update in plain PyTorch, to compare speed with.

Built as the reference is (SPEC 5): one-hot float labels that every norm resizes to its
resolution and convolves with its own three kernels, VGG19 on the grey image repeated to
three channels, two passes of the generator in one iteration. Float32; on a GPU cuDNN's
convolutions run in TF32 unless `torch.backends` says otherwise. Waste that one line
avoids (D's gradients in G's update) is left out, so that no comparison is flattered.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from cmrjax.models.vgg19 import LAYER_WIDTHS, usable_layers

LEAKY_SLOPE = 0.2
PERCEPTUAL_LAYERS = {f"conv{i}_1": 2.0 ** (i - 6) for i in (1, 2, 3, 4)}
PERCEPTUAL_LAYERS["conv5_1"] = 1.0

Features = list[list[Tensor]]
Losses = dict[str, Tensor]


class _SpectralNormConv2d(nn.Conv2d):
    """Convolution whose kernel is divided by u^T W v, with one power step per training.

    Not `torch.nn.utils.parametrizations.spectral_norm`, which moves u before v.
    """

    u: Tensor
    v: Tensor

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        c_out, columns = self.weight.flatten(1).shape
        self.register_buffer("u", F.normalize(torch.randn(c_out), dim=0))
        self.register_buffer("v", torch.zeros(columns))
        for _ in range(10):
            self._power_step()

    @torch.no_grad()
    def _power_step(self) -> tuple[Tensor, Tensor]:
        matrix = self.weight.flatten(1)
        v = F.normalize(torch.mv(matrix.t(), self.u), dim=0)  # eps 1e-12
        u = F.normalize(torch.mv(matrix, v), dim=0)
        self.u.copy_(u)
        self.v.copy_(v)
        return u, v  # not the buffers: those move again before the backward pass

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, c_in, h, w] to [b, c_out, h', w']."""
        with torch.autocast(x.device.type, enabled=False):  # sigma in float32
            u, v = self._power_step() if self.training else (self.u, self.v)
            sigma = torch.dot(u, torch.mv(self.weight.flatten(1), v))
            weight = self.weight / sigma
        return self._conv_forward(x, weight, self.bias)


class _Spade(nn.Module):
    """Batch normalisation without parameters, modulated by the label map."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(features, affine=False)
        self.mlp_shared = nn.Conv2d(num_classes, 128, 3, padding=1)
        self.mlp_gamma = nn.Conv2d(128, features, 3, padding=1)
        self.mlp_beta = nn.Conv2d(128, features, 3, padding=1)

    def forward(self, x: Tensor, onehot: Tensor) -> Tensor:
        """Normalises x [b, c, h, w] by labels [b, k, H, W]."""
        normalised = self.param_free_norm(x)
        resized = F.interpolate(onehot, size=x.shape[2:], mode="nearest")
        hidden = F.relu(self.mlp_shared(resized))
        return normalised * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class _SpadeBlock(nn.Module):
    """SPADE residual block with a learnt shortcut where the width changes."""

    def __init__(self, c_in: int, c_out: int, num_classes: int) -> None:
        super().__init__()
        middle = min(c_in, c_out)
        self.learnt_shortcut = c_in != c_out
        self.norm_0 = _Spade(c_in, num_classes)
        self.conv_0 = _SpectralNormConv2d(c_in, middle, 3, padding=1)
        self.norm_1 = _Spade(middle, num_classes)
        self.conv_1 = _SpectralNormConv2d(middle, c_out, 3, padding=1)
        if self.learnt_shortcut:
            self.norm_s = _Spade(c_in, num_classes)
            self.conv_s = _SpectralNormConv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor, onehot: Tensor) -> Tensor:
        """Maps [b, c_in, h, w] to [b, c_out, h, w]."""
        shortcut = x
        if self.learnt_shortcut:
            shortcut = self.conv_s(self.norm_s(x, onehot))
        y = self.conv_0(F.leaky_relu(self.norm_0(x, onehot), LEAKY_SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, onehot), LEAKY_SLOPE))
        return shortcut + y


class TorchSpadeGenerator(nn.Module):
    """SPADE generator, k classes, width unit nf, label seed of 1/32 of the side."""

    def __init__(self, num_classes: int, base_features: int = 64) -> None:
        super().__init__()
        self.fc = nn.Conv2d(num_classes, 16 * base_features, 3, padding=1)

        def block(c_in: int, c_out: int) -> _SpadeBlock:
            return _SpadeBlock(c_in * base_features, c_out * base_features, num_classes)

        self.head_0 = block(16, 16)
        self.G_middle_0, self.G_middle_1 = block(16, 16), block(16, 16)
        self.up_0, self.up_1 = block(16, 8), block(8, 4)
        self.up_2, self.up_3 = block(4, 2), block(2, 1)
        self.conv_img = nn.Conv2d(base_features, 1, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        _initialise(self)

    def forward(self, onehot: Tensor) -> Tensor:
        """Maps labels [b, k, h, w] to an image [b, 1, h, w] float32 in [-1, 1]."""
        h, w = onehot.shape[2] // 32, onehot.shape[3] // 32
        x = self.fc(F.interpolate(onehot, size=(h, w), mode="nearest"))
        x = self.head_0(x, onehot)
        x = self.G_middle_0(self.up(x), onehot)
        x = self.G_middle_1(x, onehot)
        for block in (self.up_0, self.up_1, self.up_2, self.up_3):
            x = block(self.up(x), onehot)
        return torch.tanh(self.conv_img(F.leaky_relu(x, LEAKY_SLOPE)).float())


class _PatchDiscriminator(nn.Module):
    """Four 4x4 convolutions and an output convolution, padding 2 on each side."""

    def __init__(self, c_in: int, ndf: int) -> None:
        super().__init__()
        self.model0 = nn.Conv2d(c_in, ndf, 4, stride=2, padding=2)
        options = {"padding": 2, "bias": False}
        self.model1 = _SpectralNormConv2d(ndf, 2 * ndf, 4, stride=2, **options)
        self.model2 = _SpectralNormConv2d(2 * ndf, 4 * ndf, 4, stride=2, **options)
        self.model3 = _SpectralNormConv2d(4 * ndf, 8 * ndf, 4, stride=1, **options)
        self.model4 = nn.Conv2d(8 * ndf, 1, 4, padding=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps [b, c_in, h, w] to four feature maps and the logits, [b, c, h', w']."""
        features = [F.leaky_relu(self.model0(x), LEAKY_SLOPE)]
        for conv in (self.model1, self.model2, self.model3):
            normalised = F.instance_norm(conv(features[-1]))
            features.append(F.leaky_relu(normalised, LEAKY_SLOPE))
        return [*features, self.model4(features[-1]).float()]


class TorchMultiscaleDiscriminator(nn.Module):
    """Two discriminators of width unit ndf, the second on the pooled input."""

    def __init__(self, num_classes: int, base_features: int = 64) -> None:
        super().__init__()
        self.discriminator_0 = _PatchDiscriminator(num_classes + 1, base_features)
        self.discriminator_1 = _PatchDiscriminator(num_classes + 1, base_features)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        _initialise(self)

    def forward(self, onehot: Tensor, image: Tensor) -> Features:
        """Scores images [b, 1, h, w] given labels [b, k, h, w]; features per scale."""
        x = torch.cat([onehot, image], dim=1)
        return [self.discriminator_0(x), self.discriminator_1(self.pool(x))]


class TorchVgg19Features(nn.Module):
    """Frozen VGG19 up to the last feature that the weights reach.

    Args:
      arrays: as for `cmrjax.models.vgg19.prepare_weights`, torchvision's convention.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.layers = usable_layers(arrays)
        for name in self.layers:
            self.add_module(name, nn.Conv2d(*LAYER_WIDTHS[name], 3, padding=1))
        leaves = ("kernel", "bias")
        params = {n: {x: arrays[f"{n}.{x}"] for x in leaves} for n in self.layers}
        load_variables(self, {"params": params})
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Maps a grey image [b, 1, h, w] in [-1, 1] to features by layer name."""
        x = image.repeat(1, 3, 1, 1)
        features = {}
        for name in self.layers:
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(getattr(self, name)(x))
            if name in PERCEPTUAL_LAYERS:
                features[name] = x
        return features


class TorchGan:
    """Both networks, their optimisers and the training iteration of the reference.

    Args:
      num_classes: k of the label map.
      base_features: width unit of G and of D.
      device: "cpu" or "cuda".
      channels_last: memory layout of kernels and activations.
      compile: compile G's pass and both objectives with `torch.compile`.
      autocast: networks compute in bfloat16; sigma, losses, parameters stay float32.
      fused_adam: one kernel per update in place of PyTorch's default.
      vgg: arrays for `TorchVgg19Features`, or None for no perceptual loss.
    """

    def __init__(
        self,
        num_classes: int,
        base_features: int = 64,
        *,
        device: str | torch.device = "cpu",
        channels_last: bool = False,
        compile: bool = False,
        autocast: bool = False,
        fused_adam: bool = False,
        vgg: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.device = torch.device(device)
        self.autocast = autocast
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = torch.channels_last
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes do not change
        self.generator = self._place(TorchSpadeGenerator(num_classes, base_features))
        discriminator = TorchMultiscaleDiscriminator(num_classes, base_features)
        self.discriminator = self._place(discriminator)
        self.vgg = None if vgg is None else self._place(TorchVgg19Features(vgg))
        adam = partial(torch.optim.Adam, betas=(0.0, 0.9), fused=fused_adam or None)
        self.g_optimizer = adam(self.generator.parameters(), 1e-4)
        self.d_optimizer = adam(self.discriminator.parameters(), 4e-4)
        if compile:
            self.generate = torch.compile(self.generate)
            self.g_losses = torch.compile(self.g_losses)
            self.d_losses = torch.compile(self.d_losses)

    def load_jax(
        self, g_variables: Mapping[str, Any], d_variables: Mapping[str, Any]
    ) -> None:
        """Copies parameters and state of our networks, see `load_variables`."""
        load_variables(self.generator, g_variables)
        load_variables(self.discriminator, d_variables)

    def train_step(self, label_map: Any, image: Any) -> Losses:
        """Updates G, then D on images of the updated G; waits for no device.

        Args:
          label_map: [b, h, w] uint8, NumPy or a tensor on the device.
          image: [b, h, w, 1] float32 in [-1, 1], likewise.

        Returns:
          float32 scalars on the device: g_loss_adversarial, g_loss_feature_matching,
          g_loss_perceptual (with VGG19), g_loss, d_loss_fake, d_loss_real, d_loss; the
          weights lambda are included.
        """
        onehot, real = self.onehot(label_map), self._tensor(image).permute(0, 3, 1, 2)
        self.generator.train()
        self.discriminator.train()
        self.discriminator.requires_grad_(False)
        self.g_optimizer.zero_grad()
        g_losses = self.g_losses(onehot, real)
        g_losses["g_loss"].backward()
        self.g_optimizer.step()
        with torch.no_grad():
            fake = self.generate(onehot)
        self.discriminator.requires_grad_(True)
        self.d_optimizer.zero_grad()
        d_losses = self.d_losses(onehot, fake, real)
        d_losses["d_loss"].backward()
        self.d_optimizer.step()
        return {k: v.detach() for k, v in {**g_losses, **d_losses}.items()}

    def synthesize(self, label_map: Any) -> Tensor:
        """Generates images [b, h, w, 1] on the device from labels [b, h, w] uint8."""
        self.generator.eval()
        with torch.inference_mode():
            return self.generate(self.onehot(label_map)).permute(0, 2, 3, 1)

    def onehot(self, label_map: Any) -> Tensor:
        """Puts labels [b, h, w] on the device as one-hot [b, k, h, w] float32."""
        labels = self._tensor(label_map).long()
        b, h, w = labels.shape
        onehot = torch.zeros(b, self.num_classes, h, w, device=self.device)
        onehot.scatter_(1, labels[:, None], 1.0)
        return onehot.contiguous(memory_format=self.memory_format)

    def generate(self, onehot: Tensor) -> Tensor:
        """Runs G on labels [b, k, h, w]; an image [b, 1, h, w]."""
        with self._precision():
            return self.generator(onehot)

    def g_losses(self, onehot: Tensor, real: Tensor) -> Losses:
        """Computes G's losses for labels [b, k, h, w] and images [b, 1, h, w]."""
        with self._precision():
            fake = self.generator(onehot)
            fakes, reals = self._discriminate(onehot, fake, real)
            logits = torch.stack([scale[-1].mean() for scale in fakes])
            hidden = [[x for s in side for x in s[:-1]] for side in (fakes, reals)]
            matching = torch.stack([*map(_l1, *hidden)]).sum() / len(fakes)
            losses = {
                "g_loss_adversarial": -logits.mean(),
                "g_loss_feature_matching": 10.0 * matching,
            }
            if self.vgg is not None:
                ours, target = self.vgg(fake), self.vgg(real)
                terms = [PERCEPTUAL_LAYERS[n] * _l1(ours[n], target[n]) for n in ours]
                losses["g_loss_perceptual"] = 10.0 * torch.stack(terms).sum()
        return {**losses, "g_loss": torch.stack(list(losses.values())).sum()}

    def d_losses(self, onehot: Tensor, fake: Tensor, real: Tensor) -> Losses:
        """Computes D's hinge losses for labels and two sets of images [b, 1, h, w]."""
        with self._precision():
            fakes, reals = self._discriminate(onehot, fake, real)
            on_fake = torch.stack([F.relu(1 + x[-1]).mean() for x in fakes]).mean()
            on_real = torch.stack([F.relu(1 - x[-1]).mean() for x in reals]).mean()
        total = on_fake + on_real
        return {"d_loss_fake": on_fake, "d_loss_real": on_real, "d_loss": total}

    def _discriminate(
        self, onehot: Tensor, fake: Tensor, real: Tensor
    ) -> tuple[Features, Features]:
        """Runs D on fake and real in one batch; features of each."""
        both = self.discriminator(torch.cat([onehot, onehot]), torch.cat([fake, real]))
        b = len(fake)
        return [[x[:b] for x in s] for s in both], [[x[b:] for x in s] for s in both]

    def _place(self, network: Any) -> Any:
        return network.to(device=self.device, memory_format=self.memory_format)

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def _tensor(self, array: Any) -> Tensor:
        """Copies to the device without waiting for it, hence from pinned memory."""
        if isinstance(array, Tensor):
            return array.to(self.device)
        host = torch.tensor(np.asarray(array), pin_memory=self.device.type == "cuda")
        return host.to(self.device, non_blocking=True)


def load_variables(module: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copies variables of a Flax network into the network of the same names here.

    Args:
      module: a network of this file.
      variables: collections of nested dictionaries; kernels HWIO, v [kh, kw, c_in].

    Raises:
      ValueError: a name is missing or a shape differs.
    """
    entries = {
        "weight": ("params", "kernel", (3, 2, 0, 1)),
        "bias": ("params", "bias", (0,)),
        "u": ("spectral", "u", (0,)),
        "v": ("spectral", "v", (2, 0, 1)),
        "running_mean": ("batch_stats", "mean", (0,)),
        "running_var": ("batch_stats", "var", (0,)),
    }
    for name, target in module.state_dict().items():
        *modules, leaf = name.split(".")
        if leaf == "num_batches_tracked":
            continue
        collection, our_leaf, order = entries[leaf]
        path = (collection, *modules, our_leaf)
        node: Any = variables
        for part in path:
            if part not in node:
                raise ValueError(f"the variables have no {'/'.join(path)}")
            node = node[part]
        value = torch.tensor(np.asarray(node).transpose(order))
        value = value.flatten() if leaf == "v" else value
        if value.shape != target.shape:
            raise ValueError(f"{name} is {[*target.shape]}, found {[*value.shape]}")
        target.copy_(value)


def _initialise(network: nn.Module) -> None:
    """Xavier normal with gain 0.02 but under spectral normalisation; biases 0."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d:
            nn.init.xavier_normal_(layer.weight, gain=0.02)
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _l1(fake: Tensor, real: Tensor) -> Tensor:
    return F.l1_loss(fake.float(), real.detach().float())
