"""One program over all devices: parameters everywhere, batches split."""

import dataclasses
from typing import Any

import jax
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
        """Returns the tree with a copy of each array on each device."""
        return jax.device_put(tree, self.replicated)


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
