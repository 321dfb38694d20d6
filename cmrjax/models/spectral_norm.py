"""Spectral normalisation with the exact state and order of the public reference.

Flax's own layer iterates in evaluation too and keeps no v, so it is not equal to the
reference (SPEC 5); this one is.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from cmrjax.models import cpu_convolution
from cmrjax.models.convolution import ConvWeights, add_bias, convolve
from cmrjax.models.initialization import Initializer, fan_in_uniform, normal

EPSILON = 1e-12
INITIAL_ITERATIONS = 10
COLLECTION = "spectral"
_FOLDED = "folded"  # in place of u and v where the kernel is divided already


# Full float32 also where a GPU would round to TF32: sigma scales the whole layer.
_matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _normalise(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), EPSILON)


def power_iteration(kernel: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Moves u and v one step towards the first singular pair of the kernel.

    With W the kernel as a matrix (c_out, c_in kh kw): v = W^T u / |W^T u|, then
    u = W v / |W v|, with the norms bounded below by 1e-12 (SPEC 5).

    Args:
      kernel: [kh, kw, c_in, c_out].
      u: [c_out], left vector.

    Returns:
      (u, v), shapes [c_out] and [kh, kw, c_in].
    """
    # A matrix in the kernel's own memory order: to transpose it takes longer than both
    # products.
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = _normalise(_matmul(matrix, u))
    return _normalise(_matmul(v, matrix)), v.reshape(kernel.shape[:-1])


def spectral_sigma(kernel: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Returns the signed estimate u^T W v of the largest singular value, a scalar."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return _matmul(_matmul(v.reshape(-1), matrix), u)


def fold_spectral_norm(variables: dict) -> dict:
    """Divides each kernel by its sigma once, for many evaluations.

    Args:
      variables: of a network, with the collections "params" and "spectral".

    Returns:
      The same for `train=False` and for nothing else: "spectral" holds a mark instead
      of u and v.
    """

    def fold(params: dict, spectral: dict) -> tuple[dict, dict]:
        if "u" in spectral:
            kernel = params["kernel"]
            sigma = spectral_sigma(kernel, spectral["u"], spectral["v"])
            return {**params, "kernel": kernel / sigma}, {_FOLDED: jnp.zeros(())}
        folded = {name: fold(params[name], spectral[name]) for name in spectral}
        return (
            {**params, **{name: new for name, (new, _) in folded.items()}},
            {name: mark for name, (_, mark) in folded.items()},
        )

    params, spectral = fold(variables["params"], variables[COLLECTION])
    return {**variables, "params": params, COLLECTION: spectral}


def settle_vectors(params: dict, spectral: dict) -> dict:
    """Iterates u and v until they fit parameters that they were not moved with.

    Args:
      params: of a network.
      spectral: its collection "spectral", from which the iteration starts.

    Returns:
      The collection after ten power iterations on each kernel.
    """
    if "u" not in spectral:
        return {
            name: settle_vectors(params[name], vectors)
            for name, vectors in spectral.items()
        }
    u, v = _iterate(params["kernel"], (spectral["u"], spectral["v"]))
    return {"u": u, "v": v}


def _iterate(
    kernel: jax.Array, vectors: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return jax.lax.fori_loop(
        0,
        INITIAL_ITERATIONS,
        lambda _, moved: power_iteration(kernel, moved[0]),
        vectors,
    )


class SpectralNormConv(nn.Module):
    """Convolution with its kernel divided by the estimated spectral norm.

    State, collection "spectral": `u` [c_out] and `v` [kh, kw, c_in] (the reference
    flattens v over (c_in, kh, kw)). A training forward moves both once and treats them
    as constants; sigma is differentiated through the kernel. Evaluation leaves them.
    Freshly drawn vectors would give a meaningless sigma, so the initialisation iterates
    ten times.

    Attributes:
      features: c_out.
      kernel_size: kh = kw.
      stride: step in both directions.
      padding: zeros on each side.
      use_bias: whether a bias is added (it is not normalised).
      kernel_init: initialiser of the raw kernel.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = True
    kernel_init: Initializer = fan_in_uniform

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps [b, h, w, c_in] to [b, h', w', c_out] (see `convolve`)."""
        weights = ConvWeights(
            x.shape[-1],
            self.features,
            self.kernel_size,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
        )
        nn.share_scope(self, weights)
        kernel, bias = weights()
        size = {"stride": self.stride, "padding": self.padding}
        if not train and self.has_variable(COLLECTION, _FOLDED):
            return convolve(x, kernel, bias, **size)
        u, v = self._vectors(kernel)
        if train and not self.is_initializing():
            fixed = jax.lax.stop_gradient(kernel)
            u.value, v.value = power_iteration(fixed, u.value)
        sigma = spectral_sigma(kernel, u.value, v.value)
        num_pixels = x.size // x.shape[-1] // self.stride**2
        large = cpu_convolution.is_large(kernel.shape)
        if not large or num_pixels * self.features >= kernel.size:
            return convolve(x, kernel / sigma, bias, **size)
        # (W / sigma) * x = (W * x) / sigma: the image is smaller than the kernel.
        y = convolve(x, kernel, None, **size) / sigma.astype(x.dtype)
        return y if bias is None else add_bias(y, bias)

    def _vectors(self, kernel: jax.Array) -> tuple[nn.Variable, nn.Variable]:
        if not self.is_initializing():
            if not self.has_variable(COLLECTION, "u"):
                _missing()  # Flax's own error for an absent collection says less
            u = self.variable(COLLECTION, "u", _missing)
            return u, self.variable(COLLECTION, "v", _missing)
        vector = _normalise(normal(self.make_rng("params"), (self.features,)))
        vector, direction = _iterate(kernel, (vector, jnp.zeros(kernel.shape[:3])))
        u = self.variable(COLLECTION, "u", lambda: vector)
        return u, self.variable(COLLECTION, "v", lambda: direction)


def _missing() -> jax.Array:
    raise ValueError(
        "the variables have no 'spectral' collection (u, v of spectral normalisation); "
        "pass everything that `init` returned, not 'params' alone"
    )
