"""Matrix products and convolutions in bfloat16, as a CPU runs them fast.

CPUs with bfloat16 units (AMX, AVX512-BF16) run a product of bfloat16 matrices three to
five times faster than one of float32, but XLA uses them only for matrix products that
sum into float32 and whose left matrix need not be transposed; its convolutions in
bfloat16 are slower than in float32. So here a convolution is a sum of products of
shifted images, some rows at a time so that copies stay in cache, with float32 sums.
Where `serves` says no, the caller computes in float32 (docs/performance.md).

On a CPU without such units XLA converts to float32: slower, the same values.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cmrjax.models import cpu_convolution

# Output channels below which copies take longer than products save.
FEWEST_FEATURES = 128
# Channels below which the products of a kernel's gradient do not fill the units.
FEWEST_CHANNELS = 32
# Pixels below which a kernel's gradient takes longer to write than to compute.
FEWEST_PIXELS = 1024
# Pixels of a strip, where the image is wide (few channels) and where it is small.
WIDE_STRIP, STRIP = 4096, 1024
WIDE_IMAGE = 2**14
# Elements of a strip that XLA transposes without missing the cache all the time.
TRANSPOSED = 2**19


def applies(dtype: DTypeLike) -> bool:
    """Whether arrays of this dtype are computed with on a CPU, in bfloat16."""
    if dtype != jnp.bfloat16 or jax.default_backend() != "cpu":
        return False
    return cpu_convolution.branches_may_sum()  # its gradients are loops


def serves(features: int) -> bool:
    """Whether shifted products win over a float32 convolution.

    Each of the image's values is copied once per position of the kernel and then used
    once per output channel.

    Args:
      features: output channels (of the input's gradient, the input's).
    """
    return features >= FEWEST_FEATURES


def serves_gradient(kernel_shape: Sequence[int]) -> bool:
    """Whether `kernel_gradient` wins over float32.

    Args:
      kernel_shape: (kh, kw, c_in, c_out).
    """
    return min(kernel_shape[2:]) >= FEWEST_CHANNELS


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies two matrices, in bfloat16 on a CPU with this module's gradient.

    Args:
      a: [m, k].
      b: [k, n], same dtype.

    Returns:
      [m, n], dtype of `a`.
    """
    return _product(a, b) if applies(a.dtype) else a @ b


@jax.custom_vjp
def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return _dot(a, b, 0).astype(a.dtype)


def _product_fwd(a: jax.Array, b: jax.Array):
    return _product(a, b), (a, b)


def _product_bwd(residuals: tuple[jax.Array, jax.Array], g: jax.Array):
    a, b = residuals
    return _dot(g, b, 1).astype(a.dtype), transposed_product(a, g).astype(b.dtype)


_product.defvjp(_product_fwd, _product_bwd)


def transposed_product(a: jax.Array, g: jax.Array) -> jax.Array:
    """Computes a^T g for matrices with many rows.

    Args:
      a: [m, k].
      g: [m, n], same dtype.

    Returns:
      [k, n] float32.
    """
    m, k = a.shape
    n = g.shape[1]
    parts = _divisor(m, _transposed_rows(n))
    if m < FEWEST_PIXELS or parts == 1:
        a, g = a.astype(jnp.float32), g.astype(jnp.float32)
        return jax.lax.dot_general(a, g, (((0,), (0,)), ((), ())))
    turned = _transpose_strips(_bits(g).reshape(parts, m // parts, n))
    strips = a.reshape(parts, m // parts, k)

    def add(total: jax.Array, strip: tuple[jax.Array, jax.Array]):
        return total + _dot(*strip, 0), None

    total, _ = jax.lax.scan(add, jnp.zeros((n, k), jnp.float32), (turned, strips))
    return _turn_result(total)


def convolve(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Convolves with stride 1.

    Args:
      x: [b, h, w, c_in].
      kernel: [kh, kw, c_in, c_out], same dtype.
      padding: zeros on each side.

    Returns:
      [b, h', w', c_out], dtype of `x`.
    """
    kh, kw = kernel.shape[:2]
    return _sum_of_taps(_pad(x, padding, padding), kernel, (kh, kw), contract=0)


def input_gradient(
    g: jax.Array, kernel: jax.Array, padding: int, shape: Sequence[int]
) -> jax.Array:
    """Gradient of a stride 1 convolution's input.

    Args:
      g: [b, h', w', c_out], gradient of the output.
      kernel: [kh, kw, c_in, c_out], same dtype.
      padding: zeros that the convolution added on each side.
      shape: of the input, (b, h, w, c_in).

    Returns:
      `shape`, dtype of `g`.
    """
    kh, kw = kernel.shape[:2]
    top, left = kh - 1 - padding, kw - 1 - padding
    y = _sum_of_taps(_pad(g, top, left), kernel[::-1, ::-1], (kh, kw), contract=1)
    return y.reshape(shape)


def kernel_gradient(
    x: jax.Array, g: jax.Array, kernel_shape: Sequence[int], padding: int
) -> jax.Array:
    """Gradient of a stride 1 convolution's kernel.

    Args:
      x: [b, h, w, c_in], input of the convolution.
      g: [b, h', w', c_out], gradient of its output, same dtype.
      kernel_shape: (kh, kw, c_in, c_out).
      padding: zeros on each side.

    Returns:
      [kh, kw, c_in, c_out], dtype of `x`, summed in float32.
    """
    kh, kw, c_in, c_out = kernel_shape
    b, h, w, _ = g.shape
    if b * h * w < FEWEST_PIXELS:
        return cpu_convolution.kernel_gradient_by_taps(
            x.astype(jnp.float32), g.astype(jnp.float32), kernel_shape, padding
        ).astype(x.dtype)
    rows = _strip_rows(b, h, w, _transposed_rows(c_out))
    strips = _bits(g).reshape(b, h // rows, rows * w, c_out).transpose(1, 0, 2, 3)
    turned = _transpose_strips(strips.reshape(h // rows, b * rows * w, c_out))
    padded = _pad(x, padding, padding)

    def add(totals: list[jax.Array], strip: tuple[jax.Array, jax.Array]):
        index, g_turned = strip
        here = jax.lax.dynamic_slice_in_dim(padded, index * rows, rows + kh - 1, axis=1)
        taps = zip(totals, _shifts(here, kh, kw), strict=True)
        return [total + _dot(g_turned, shifted, 0) for total, shifted in taps], None

    start = [jnp.zeros((c_out, c_in), jnp.float32)] * (kh * kw)
    totals, _ = jax.lax.scan(add, start, (jnp.arange(h // rows), turned))
    turned_back = jnp.stack([_turn_result(x) for x in totals])
    return turned_back.reshape(kernel_shape).astype(x.dtype)


def _sum_of_taps(
    padded: jax.Array, kernel: jax.Array, size: tuple[int, int], *, contract: int
) -> jax.Array:
    """Correlates the bits of a padded image, one product per position of the kernel.

    `contract` is the axis of the kernel's [c_in, c_out] that meets the channels.
    """
    kh, kw = size
    b, w = padded.shape[0], padded.shape[2] - kw + 1
    h = padded.shape[1] - kh + 1
    bits = _bits(kernel).reshape(kh * kw, *kernel.shape[2:])
    matrices = [_values(matrix) for matrix in bits]
    features = kernel.shape[3 - contract]

    def correlate(rows_here: jax.Array) -> jax.Array:
        taps = zip(_shifts(rows_here, kh, kw), matrices, strict=True)
        total = sum(_dot(shifted, matrix, contract) for shifted, matrix in taps)
        return total.astype(jnp.bfloat16).reshape(b, -1, w, features)  # type: ignore[union-attr]

    strip = WIDE_STRIP if h * w >= WIDE_IMAGE else STRIP
    rows = _strip_rows(b, h, w, strip)
    if rows == h:
        return correlate(padded)

    def correlate_strip(index: jax.Array) -> jax.Array:
        return correlate(
            jax.lax.dynamic_slice_in_dim(padded, index * rows, rows + kh - 1, axis=1)
        )

    strips = _bits(jax.lax.map(correlate_strip, jnp.arange(h // rows)))
    return _values(strips.transpose(1, 0, 2, 3, 4).reshape(b, h, w, features))


def _dot(a: jax.Array, b: jax.Array, contract: int) -> jax.Array:
    """[m, k] by [k, n] (contract 0) or [n, k] (contract 1), float32 sums."""
    return jax.lax.dot_general(
        a, b, (((1,), (contract,)), ((), ())), preferred_element_type=jnp.float32
    )


def _turn_result(total: jax.Array) -> jax.Array:
    """Transposes a sum of products, kept apart from the products.

    XLA would make one product of a single one and its transpose, of a form that its
    bfloat16 kernels do not have: it then fails at run time.
    """
    return jax.lax.optimization_barrier(total).T


def _transpose_strips(strips: jax.Array) -> jax.Array:
    """Bits [s, m, n] to [s, n, m], in memory: products would else be in float32."""
    turned = jnp.swapaxes(jax.lax.optimization_barrier(strips), 1, 2)
    return _values(jax.lax.optimization_barrier(turned))


def _bits(x: jax.Array) -> jax.Array:
    """The bits of bfloat16: XLA moves values by way of float32, at half the speed."""
    return jax.lax.bitcast_convert_type(x, jnp.uint16)


def _values(bits: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, jnp.bfloat16)


def _transposed_rows(width: int) -> int:
    """Rows of a matrix of some width that are transposed at a time."""
    return min(max(TRANSPOSED // width, 256), STRIP)


def _divisor(m: int, wanted: int) -> int:
    """The fewest equal parts of m rows with at most about `wanted` rows each."""
    parts = max(1, round(m / wanted))
    while m % parts:
        parts -= 1
    return parts


def _strip_rows(b: int, h: int, w: int, pixels: int) -> int:
    """Rows of the strips that h rows are cut into: the divisor of h nearest to it."""
    wanted = max(1.0, pixels / (b * w))
    divisors = [rows for rows in range(1, h + 1) if h % rows == 0]
    return min(divisors, key=lambda rows: max(rows / wanted, wanted / rows))


def _pad(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Bits of the image with zeros around it."""
    return cpu_convolution.pad(_bits(x), rows, columns)


def _shifts(padded: jax.Array, kh: int, kw: int) -> list[jax.Array]:
    """Values [b h w, c] that each of the kernel's positions sees, row by row."""
    shifted = cpu_convolution.shifts(padded, kh, kw)
    return [_values(bits).reshape(-1, bits.shape[3]) for bits in shifted]
