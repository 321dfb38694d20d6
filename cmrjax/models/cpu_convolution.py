"""Convolutions and their gradients as matrix products, where a CPU gains by it.

XLA's own convolution runs near the speed of a matrix product for wide images and few
channels, and far below in the cases that this module replaces (docs/performance.md has
the timings). Each function says by its shapes alone whether it takes over, so one
program is compiled, and every one is exact: the same sums in another order.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Elements from which a kernel's rearrangement is worth avoiding (1 MiB in float32).
LARGE_KERNEL = 2**18
# Channels from which products win over XLA's own gradient of a kernel.
SMALLEST_WIDTH = 32
# Pixels of a strip whose shifted copies stay in a core's second-level cache.
STRIP_PIXELS = 1024


def is_large(kernel_shape: Sequence[int]) -> bool:
    """Whether passing over a kernel once more takes noticeable time."""
    return math.prod(kernel_shape) >= LARGE_KERNEL


def kernel_outweighs_image(num_pixels: int, kernel_shape: Sequence[int]) -> bool:
    """Whether the columns of an image are smaller than half the kernel.

    Then `forward_by_columns` wins, since XLA's own convolution rearranges the kernel
    first.

    Args:
      num_pixels: b h w of the output.
      kernel_shape: (kh, kw, c_in, c_out).
    """
    kh, _, _, c_out = kernel_shape
    return kh > 1 and is_large(kernel_shape) and 2 * num_pixels <= c_out


def forward_by_columns(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Convolves with stride 1 by one product of shifted images and kernel.

    Args:
      x: [b, h, w, c_in].
      kernel: [kh, kw, c_in, c_out].
      padding: zeros on each side.

    Returns:
      [b, h', w', c_out].
    """
    kh, kw, c_in, c_out = kernel.shape
    shifted = shifts(pad(x, padding, padding), kh, kw)
    columns = jnp.concatenate(shifted, axis=-1)
    b, h, w, _ = columns.shape
    y = columns.reshape(b * h * w, -1) @ kernel.reshape(kh * kw * c_in, c_out)
    return y.reshape(b, h, w, c_out)


def input_gradient_needs_no_turned_kernel(
    num_pixels: int, kernel_shape: Sequence[int]
) -> bool:
    """Whether `input_gradient_by_columns` wins: the kernel is larger than the image.

    XLA's own gradient first turns and transposes the kernel, which for 1024 x 1024
    channels takes four times as long as the products.

    Args:
      num_pixels: b h w of the output.
      kernel_shape: (kh, kw, c_in, c_out).
    """
    kh, _, _, c_out = kernel_shape
    return kh > 1 and is_large(kernel_shape) and num_pixels <= 2 * c_out


def input_gradient_by_columns(
    g: jax.Array, kernel: jax.Array, padding: int, shape: Sequence[int]
) -> jax.Array:
    """Gradient of a stride 1 convolution's input: one product, then shifted sums.

    Args:
      g: [b, h', w', c_out], gradient of the output.
      kernel: [kh, kw, c_in, c_out].
      padding: zeros that the convolution added on each side.
      shape: of the input, (b, h, w, c_in).

    Returns:
      [b, h, w, c_in].
    """
    kh, kw, c_in, c_out = kernel.shape
    b, h, w, _ = g.shape
    _, height, width, _ = shape
    columns = jax.lax.dot_general(
        g.reshape(-1, c_out),
        kernel.reshape(-1, c_out),
        (((1,), (1,)), ((), ())),
    ).reshape(b, h, w, kh * kw, c_in)
    total = jnp.zeros((b, h + kh - 1, w + kw - 1, c_in), g.dtype)
    for i in range(kh):
        for j in range(kw):
            border = ((0, 0), (i, kh - 1 - i), (j, kw - 1 - j), (0, 0))
            total = total + jnp.pad(columns[:, :, :, kw * i + j], border)
    inside = total[:, padding : padding + height, padding : padding + width]
    # Rows that no window reached have no gradient.
    return _pad_to(inside, height, width)


def has_blocks(kernel_shape: Sequence[int], stride: int) -> bool:
    """Whether `to_blocks` takes over: stride 2 and an even kernel."""
    kh, kw = kernel_shape[:2]
    return stride == 2 and kh % 2 == kw % 2 == 0


def to_blocks(
    x: jax.Array, kernel: jax.Array, padding: int
) -> tuple[jax.Array, jax.Array]:
    """Turns a convolution of stride 2 into one of stride 1 and no padding.

    The pixels of a 2x2 block of the image become four groups of channels; between them
    and the output the convolution has stride 1 and half the kernel size. XLA's own
    gradients of a strided convolution run at a quarter of the speed.

    Args:
      x: [b, h, w, c_in].
      kernel: [kh, kw, c_in, c_out] with even kh and kw.
      padding: zeros that the convolution adds on each side.

    Returns:
      Image [b, (h + 2 padding) // 2, likewise w, 4 c_in] and kernel [kh / 2, kw / 2,
      4 c_in, c_out].
    """
    kh, kw, c_in, c_out = kernel.shape
    b, h, w, _ = x.shape
    # No window reaches an odd last row or column.
    bottom, right = padding - h % 2, padding - w % 2
    zero = jnp.zeros((), x.dtype)
    x = jax.lax.pad(
        x, zero, ((0, 0, 0), (padding, bottom, 0), (padding, right, 0), (0, 0, 0))
    )
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    blocks = x.reshape(b, rows, 2, columns, 2, c_in).transpose(0, 1, 3, 2, 4, 5)
    kernels = kernel.reshape(kh // 2, 2, kw // 2, 2, c_in, c_out)
    kernels = kernels.transpose(0, 2, 1, 3, 4, 5)
    return (
        blocks.reshape(b, rows, columns, 4 * c_in),
        kernels.reshape(kh // 2, kw // 2, 4 * c_in, c_out),
    )


def branches_may_sum() -> bool:
    """Whether a loop or a branch may hold a sum over the batch.

    Among several processes on CPUs not: XLA runs a loop beside what comes after it, and
    gloo tells one sum over the processes from another by their order alone. It then
    ends with "collective mismatch".
    """
    return jax.default_backend() != "cpu" or jax.process_count() == 1


def kernel_gradient(
    x: jax.Array, g: jax.Array, kernel_shape: Sequence[int], padding: int
) -> jax.Array | None:
    """Gradient of a stride 1 convolution's kernel, where this module is the faster.

    Args:
      x: [b, h, w, c_in], input of the convolution.
      g: [b, h', w', c_out], gradient of its output.
      kernel_shape: (kh, kw, c_in, c_out).
      padding: zeros on each side.

    Returns:
      [kh, kw, c_in, c_out], or None where XLA's own way is to be taken.
    """
    _, _, c_in, c_out = kernel_shape
    b, h, w, _ = g.shape
    same_size = x.shape[1:3] == (h, w)
    if c_out == 1:
        return _by_shifted_gradient(x, g, kernel_shape, padding)
    if c_in < SMALLEST_WIDTH:
        return None
    rows = strip_rows(b, h, w)
    if same_size and rows < h and c_in >= c_out // 2 and branches_may_sum():
        return _by_strips(x, g, kernel_shape, padding, rows)
    return kernel_gradient_by_taps(x, g, kernel_shape, padding)


def strip_rows(b: int, h: int, w: int) -> int:
    """Returns the rows of the strips that h rows are cut into, a divisor of h.

    Args:
      b: batch, which a strip holds whole.
      h: rows.
      w: columns.
    """
    wanted = max(1, STRIP_PIXELS // (b * w))
    return max(rows for rows in range(1, min(wanted, h) + 1) if h % rows == 0)


def kernel_gradient_by_taps(
    x: jax.Array, g: jax.Array, kernel_shape: Sequence[int], padding: int
) -> jax.Array:
    """Gradient of a stride 1 convolution's kernel, one matrix product per position.

    Args:
      x: [b, h, w, c_in], input of the convolution.
      g: [b, h', w', c_out], gradient of its output.
      kernel_shape: (kh, kw, c_in, c_out).
      padding: zeros on each side.

    Returns:
      [kh, kw, c_in, c_out], dtype of `x`, summed in float32.
    """
    kh, kw, c_in, c_out = kernel_shape
    g_rows = g.reshape(-1, c_out).T
    taps = [
        jnp.matmul(
            g_rows,
            shifted.reshape(-1, c_in),
            preferred_element_type=jnp.float32,
        ).T
        for shifted in shifts(pad(x, padding, padding), kh, kw)
    ]
    return jnp.stack(taps).reshape(kernel_shape).astype(x.dtype)


def sum_of_pixels(x: jax.Array) -> jax.Array:
    """Sums over all axes but the last, as a product with ones.

    Inside of a larger program XLA sums by a tree of windows, ten times slower.

    Args:
      x: [..., c].

    Returns:
      [c] float32 (float64 where `x` is).
    """
    c = x.shape[-1]
    n = x.size // c
    parts = max(parts for parts in range(1, min(n, 256) + 1) if n % parts == 0)
    strips = x.reshape(parts, n // parts, c)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    sums = jax.lax.dot_general(
        jnp.ones((parts, n // parts), x.dtype),
        strips,
        (((1,), (1,)), ((0,), (0,))),
        preferred_element_type=dtype,
    )
    return jnp.sum(sums, axis=0)


def _by_shifted_gradient(
    x: jax.Array, g: jax.Array, kernel_shape: Sequence[int], padding: int
) -> jax.Array:
    """One product of the image, read once, with all shifts of the gradient."""
    kh, kw, c_in, c_out = kernel_shape
    columns = _gradient_columns(
        _pad_gradient(g, x.shape, kernel_shape, padding), kh, kw
    )
    product = jnp.matmul(
        columns.T, x.reshape(-1, c_in), preferred_element_type=jnp.float32
    )
    kernel = product.reshape(kh, kw, c_out, c_in).transpose(0, 1, 3, 2)
    return kernel.astype(x.dtype)


def _by_strips(
    x: jax.Array, g: jax.Array, kernel_shape: Sequence[int], padding: int, rows: int
) -> jax.Array:
    """As `_by_shifted_gradient`, some rows at a time, so that copies stay in cache."""
    kh, kw, c_in, c_out = kernel_shape
    padded = _pad_gradient(g, x.shape, kernel_shape, padding)

    def add_strip(total: jax.Array, strip: jax.Array) -> tuple[jax.Array, None]:
        start = strip * rows
        here = jax.lax.dynamic_slice_in_dim(padded, start, rows + kh - 1, axis=1)
        image = jax.lax.dynamic_slice_in_dim(x, start, rows, axis=1)
        product = jnp.matmul(
            _gradient_columns(here, kh, kw).T,
            image.reshape(-1, c_in),
            preferred_element_type=jnp.float32,
        )
        return total + product, None

    start = jnp.zeros((kh * kw * c_out, c_in), jnp.float32)
    total, _ = jax.lax.scan(add_strip, start, jnp.arange(x.shape[1] // rows))
    kernel = total.reshape(kh, kw, c_out, c_in).transpose(0, 1, 3, 2)
    return kernel.astype(x.dtype)


def _pad_gradient(
    g: jax.Array, shape: Sequence[int], kernel_shape: Sequence[int], padding: int
) -> jax.Array:
    """Pads g so that its shift (kh - 1 - i, kw - 1 - j) meets x at position (i, j)."""
    (kh, kw), (height, width) = kernel_shape[:2], shape[1:3]
    top, left = kh - 1 - padding, kw - 1 - padding
    bottom = height + kh - 1 - g.shape[1] - top
    right = width + kw - 1 - g.shape[2] - left
    zero = jnp.zeros((), g.dtype)
    return jax.lax.pad(
        g, zero, ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))
    )


def _gradient_columns(padded: jax.Array, kh: int, kw: int) -> jax.Array:
    """[b, h + kh - 1, w + kw - 1, c] to [b h w, kh kw c]."""
    shifted = shifts(padded, kh, kw)[::-1]
    return jnp.concatenate(shifted, axis=-1).reshape(-1, kh * kw * padded.shape[3])


def shifts(padded: jax.Array, kh: int, kw: int) -> list[jax.Array]:
    """Returns the images [b, h, w, c] that each of a kernel's positions sees."""
    h, w = padded.shape[1] - kh + 1, padded.shape[2] - kw + 1
    return [padded[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]


def pad(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Adds zeros around [b, h, w, c]."""
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _pad_to(x: jax.Array, height: int, width: int) -> jax.Array:
    """Adds zeros behind the last row and column up to a size."""
    missing = (height - x.shape[1], width - x.shape[2])
    if not any(missing):
        return x
    return jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
