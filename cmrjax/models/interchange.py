"""Variables of our networks from, and to, the names of the public PyTorch SPADE.

SPEC 12 lists the names. Arrays are NumPy; nothing here needs PyTorch.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

Tree = dict[str, Any]

# Entries that the reference stores and that carry nothing for us.
IGNORED = re.compile(r"num_batches_tracked$")
_RUNNING = {"running_mean": "mean", "running_var": "var"}


def _our_module(torch_module: str) -> tuple[str, ...]:
    """Drops the positions inside nn.Sequential: mlp_shared.0 -> mlp_shared."""
    return tuple(part for part in torch_module.split(".") if not part.isdigit())


def _convert(leaf: str, value: np.ndarray) -> tuple[str, str, np.ndarray]:
    """Returns collection, our leaf name and the array in our axis order."""
    if leaf in ("weight", "weight_orig"):
        if value.ndim == 2:
            return "params", "kernel", value.T
        return "params", "kernel", value.transpose(2, 3, 1, 0)
    if leaf == "bias":
        return "params", "bias", value
    if leaf == "weight_u":
        return "spectral", "u", value
    if leaf == "weight_v":
        return "spectral", "v", value
    if leaf in _RUNNING:
        return "batch_stats", _RUNNING[leaf], value
    raise ValueError(
        f"parameter {leaf!r} is not one of the public SPADE networks; expected weight, "
        "weight_orig, weight_u, weight_v, bias, running_mean or running_var"
    )


def _insert(tree: Tree, path: tuple[str, ...], value: np.ndarray) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def from_torch_names(state: Mapping[str, np.ndarray]) -> Tree:
    """Converts a state dictionary of the reference generator or discriminator.

    Args:
      state: arrays under their PyTorch names; kernels OIHW, `weight_v` flattened over
        (in, kh, kw). The entry `weight_v` of a layer needs the layer's `weight_orig`
        beside it, since only that gives its kernel size.

    Returns:
      Nested dictionary with collections "params", "spectral", "batch_stats" (those
      that occur), kernels HWIO, v as [kh, kw, in], float32.

    Raises:
      ValueError: a name that the reference does not have, or `weight_v` alone.
    """
    tree: Tree = {}
    for name, value in state.items():
        if IGNORED.search(name):
            continue
        module, _, leaf = name.rpartition(".")
        array = np.asarray(value, dtype=np.float32)
        collection, our_leaf, array = _convert(leaf, array)
        if our_leaf == "v":
            kernel = state.get(f"{module}.weight_orig")
            if kernel is None:
                raise ValueError(f"{name} has no {module}.weight_orig beside it")
            _, c_in, kh, kw = kernel.shape
            array = array.reshape(c_in, kh, kw).transpose(1, 2, 0)
        path = (collection, *_our_module(module), our_leaf)
        _insert(tree, path, np.ascontiguousarray(array))
    return tree
