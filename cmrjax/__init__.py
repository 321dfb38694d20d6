"""Label-conditional synthesis of cardiac MR images in JAX.

The public names are imported when they are first used, so that `import cmrjax` itself
stays light (no JAX, no NIfTI reader):

    params = cmrjax.load_params("runs/multi_a1")
    images = cmrjax.synthesize(labels, params)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmrjax.data.nifti import read_volume, write_volume
    from cmrjax.labels import CAVITY, MULTI_TISSUE, LabelSchema
    from cmrjax.synthesis.params import init_params, load_params
    from cmrjax.synthesis.sample import synthesize

__version__ = "0.1.0"

__all__ = [
    "CAVITY",
    "MULTI_TISSUE",
    "LabelSchema",
    "__version__",
    "init_params",
    "load_params",
    "read_volume",
    "synthesize",
    "write_volume",
]

_MODULE_OF = {
    "CAVITY": "cmrjax.labels",
    "MULTI_TISSUE": "cmrjax.labels",
    "LabelSchema": "cmrjax.labels",
    "init_params": "cmrjax.synthesis.params",
    "load_params": "cmrjax.synthesis.params",
    "read_volume": "cmrjax.data.nifti",
    "synthesize": "cmrjax.synthesis.sample",
    "write_volume": "cmrjax.data.nifti",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cmrjax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
