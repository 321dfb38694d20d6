"""Variables of a network drawn in NumPy: quick, and with no array at 0 or 1.

Compiling a network's own initialisation takes longer than all that is done with it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.models.numpy_layers import as_matrix


def _leaf(rng: np.random.Generator, module: str, name: str, shape: tuple) -> np.ndarray:
    if name == "var":
        return rng.uniform(0.1, 0.5, shape)
    if name == "bias":
        return rng.normal(0, 0.5 if module == "mlp_gamma" else 0.1, shape)
    if name == "mean":
        return rng.normal(0, 0.2, shape)
    fan_in = np.prod(shape[:-1])
    return rng.normal(0, 0.5 / np.sqrt(fan_in), shape)


def _singular_pairs(shapes: Mapping[str, Any], params: Mapping[str, Any]) -> dict:
    if "u" not in shapes:
        return {k: _singular_pairs(v, params[k]) for k, v in shapes.items()}
    kh, kw, c_in, _ = params["kernel"].shape
    left, _, right = np.linalg.svd(as_matrix(params["kernel"]), full_matrices=False)
    v = right[0].reshape(c_in, kh, kw).transpose(1, 2, 0)
    return {"u": np.float32(left[:, 0]), "v": np.float32(v)}


def draw_variables(init: Any, *inputs: Any, seed: int = 0, **options: Any) -> dict:
    """Draws what `init(key, *inputs, **options)` would make, in float32.

    u and v of spectral normalisation are the true first singular pairs.
    """
    shapes = jax.eval_shape(
        lambda key: dict(init(key, *inputs, **options)), jax.random.key(0)
    )
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> Any:
        module = path[-2].key if len(path) > 1 else ""
        return np.float32(_leaf(rng, module, path[-1].key, leaf.shape))

    variables = {
        name: jax.tree_util.tree_map_with_path(draw, tree)
        for name, tree in shapes.items()
        if name != "spectral"
    }
    if "spectral" in shapes:
        variables["spectral"] = _singular_pairs(shapes["spectral"], variables["params"])
    return jax.tree.map(jnp.asarray, variables)
