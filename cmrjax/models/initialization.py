"""Initial values of parameters, and how those of a network are drawn in one go.

A program that draws each array from a key of its own holds a hundred copies of the
generator of random numbers and of the normal distribution: half of the 16 seconds of
processor time that compiling it takes on a CPU. `draw_at_once` draws one long vector of
each kind, of which the initialisers here take their pieces in the order in which they
are called.
"""

import contextvars
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

T = TypeVar("T")

# (key, shape of the kernel [..., c_in, c_out][, dtype of the result]) -> kernel
Initializer = Callable[..., jax.Array]

_DISTRIBUTIONS = {"normal": jax.random.normal, "uniform": jax.random.uniform}


class _Supply:
    """Numbers in store, or a count of how many are asked for."""

    def __init__(self, **numbers: jax.Array) -> None:
        self.used = dict.fromkeys(_DISTRIBUTIONS, 0)
        self._numbers = numbers

    def take(self, kind: str, shape: tuple[int, ...]) -> jax.Array:
        start = self.used[kind]
        self.used[kind] += math.prod(shape)
        if not self._numbers:
            return jnp.zeros(shape)
        return self._numbers[kind][start : self.used[kind]].reshape(shape)


_supply: contextvars.ContextVar[_Supply | None] = contextvars.ContextVar(
    "_supply", default=None
)


def draw_at_once(init: Callable[[jax.Array], T], key: jax.Array) -> T:
    """Returns `init(key)` with its normal and uniform numbers drawn together.

    Same distributions as `init(key)`, other values. Equal keys give equal values on
    every kind of device, as far as its functions are equal.

    Args:
      init: draws what it draws through `normal`, `uniform` and this module's
        initialisers; what it draws in other ways, it draws from its key.
      key: PRNG key.
    """
    *keys, other_key = jax.random.split(key, len(_DISTRIBUTIONS) + 1)
    wanted = _Supply()
    # A new function each time: JAX would not call one again that it has traced.
    _run(wanted, lambda: jax.eval_shape(lambda key: init(key), other_key))
    supply = _Supply(
        **{
            kind: draw(key, (wanted.used[kind],))
            for key, (kind, draw) in zip(keys, _DISTRIBUTIONS.items(), strict=True)
        }
    )
    drawn = _run(supply, lambda: init(other_key))
    if supply.used != wanted.used:
        raise RuntimeError(f"took {supply.used} numbers, was to take {wanted.used}")
    return drawn


def _run(supply: _Supply, function: Callable[[], T]) -> T:
    token = _supply.set(supply)
    try:
        return function()
    finally:
        _supply.reset(token)


def normal(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Draws from N(0, 1), float32; `key` is not used inside of `draw_at_once`."""
    return _draw("normal", key, tuple(shape))


def uniform(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Draws from [0, 1), float32; `key` is not used inside of `draw_at_once`."""
    return _draw("uniform", key, tuple(shape))


def _draw(kind: str, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    supply = _supply.get()
    if supply is None:
        return _DISTRIBUTIONS[kind](key, shape)
    return supply.take(kind, shape)


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    """Inputs and outputs of a kernel [..., c_in, c_out]."""
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def xavier_normal(
    key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Draws from a normal distribution, Xavier's with gain 0.02.

    Its standard deviation is 0.02 sqrt(2 / (fan_in + fan_out)) (SPEC 5, the public
    SPADE implementation).

    Args:
      key: PRNG key.
      shape: of the kernel, [..., c_in, c_out].
      dtype: of the result.

    Returns:
      Array of `shape`.
    """
    std = 0.02 * (2 / sum(_fans(shape))) ** 0.5
    return (std * normal(key, shape)).astype(dtype)


def he_normal(negative_slope: float) -> Initializer:
    """Normal distribution of He et al. 2015 for layers before a leaky ReLU.

    Args:
      negative_slope: of the leaky ReLU, a.

    Returns:
      An initialiser of variance 2 / ((1 + a^2) fan_in), used as `xavier_normal`.
    """

    def draw(
        key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        fan_in, _ = _fans(shape)
        std = (2 / ((1 + negative_slope**2) * fan_in)) ** 0.5
        return (std * normal(key, shape)).astype(dtype)

    return draw


def fan_in_uniform(
    key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Draws uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default.

    The public SPADE implementation, run on a GPU, leaves its spectrally normalised
    kernels at this initialisation (SPEC 5). The scale is invisible in the output of
    such a layer but not in Adam's relative step.

    Args:
      key: PRNG key.
      shape: of the kernel, [..., c_in, c_out].
      dtype: of the result.

    Returns:
      Array of `shape`.
    """
    fan_in, _ = _fans(shape)
    bound = fan_in**-0.5
    return (bound * (2 * uniform(key, shape) - 1)).astype(dtype)
