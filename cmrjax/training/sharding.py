"""One program over all devices: parameters everywhere, batches split.

The devices may be those of several processes; each holds its own part of a batch.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


@dataclasses.dataclass(frozen=True)
class DataParallel:
    """Placement of arrays for data parallelism.

    Under jit with these placements, means over the batch are means over the global
    batch: batch normalisation is synchronised without further code.

    Attributes:
      mesh: one axis, "data", over all devices.
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """Placement of the state: a copy on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def split(self) -> NamedSharding:
        """Placement of a batch: its first axis over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    @property
    def split_second(self) -> NamedSharding:
        """Placement of a stack of batches: the second axis over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    @property
    def num_devices(self) -> int:
        """Devices in the mesh."""
        return self.mesh.size

    def rows(self, batch_size: int) -> slice:
        """Returns which examples of a global batch this process puts on its devices.

        Args:
          batch_size: the global batch, as it was given to `data_parallel`.
        """
        parts = self.split.addressable_devices_indices_map((batch_size,)).values()
        spans = sorted(part[0].indices(batch_size)[:2] for part in parts if part)
        for (_, end), (start, _) in itertools.pairwise(spans):
            if start != end:
                raise ValueError(f"devices of other processes lie between {spans}")
        return slice(spans[0][0], spans[-1][1])

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Moves this process's part of a batch to its devices.

        Args:
          batch: arrays [local b, ...].

        Returns:
          Arrays [global b, ...], split over the devices.
        """
        return {name: self.put(array, self.split) for name, array in batch.items()}

    def put(self, array: np.ndarray, sharding: NamedSharding) -> jax.Array:
        """Moves this process's part of an array to its devices."""
        return jax.make_array_from_process_local_data(sharding, array)

    def replicate(self, tree: Any) -> Any:
        """Returns the tree with a copy of each array on each device.

        Args:
          tree: arrays and random keys; in several processes the same in each.
        """
        if jax.process_count() == 1:
            return jax.device_put(tree, self.replicated)
        return jax.tree.map(self._copy_to_all, tree)

    def _copy_to_all(self, leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        ):
            bits = self._copy_to_all(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(
            array.shape, self.replicated, lambda index: array[index]
        )


def local_copy(tree: Any) -> Any:
    """Returns this process's copy of arrays that every device has, on one device.

    What is computed from it needs no other process.

    Args:
      tree: of arrays that were replicated.
    """
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def data_parallel(*, batch_size: int, num_devices: int | None = None) -> DataParallel:
    """Makes the placement over the visible devices.

    Args:
      batch_size: the global batch, to be divided among the devices.
      num_devices: use the first so many devices; all by default.

    Returns:
      The placement.

    Raises:
      ValueError: the batch cannot be divided evenly, or there are not so many devices.
    """
    visible = jax.devices()
    count = len(visible) if num_devices is None else num_devices
    if not 1 <= count <= len(visible):
        raise ValueError(f"num_devices is {count}; 1 to {len(visible)} are visible")
    devices = visible[:count]
    if batch_size < 1 or batch_size % len(devices):
        raise ValueError(
            f"batch_size is {batch_size}, which does not divide among {len(devices)} "
            f"devices; use a multiple of {len(devices)}, or fewer devices "
            "(CUDA_VISIBLE_DEVICES)"
        )
    mesh = jax.make_mesh(
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )
    return DataParallel(mesh)
