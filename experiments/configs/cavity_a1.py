r"""SPADE GAN on M&Ms vendor A, centre 1: heart classes only (cavity).

Reproduces the model GenA1 of Amirrajab et al. 2022, section 4.4.

    python -m experiments.train_gan \
        --config=experiments/configs/cavity_a1.py --workdir=runs/cavity_a1

Expected figure: the paper prints none for this model alone.
Expected time: 50 epochs; not yet measured at this size on a GPU.
"""

from experiments.configs import base


def get_config() -> base.Config:
    """Returns the configuration."""
    config = base.get_config()
    config.data.schema = "cavity"
    config.data.train_groups = ("A1",)
    return config
