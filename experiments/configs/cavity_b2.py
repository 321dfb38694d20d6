r"""SPADE GAN on M&Ms vendor B, centre 2: heart classes only (cavity).

Reproduces the model GenB2 of Amirrajab et al. 2022, section 4.4.

    python -m experiments.train_gan \
        --config=experiments/configs/cavity_b2.py --workdir=runs/cavity_b2

Expected figure: the paper prints none for this model alone.
Expected time: 50 epochs; not yet measured at this size on a GPU.
"""

from experiments.configs import base


def get_config() -> base.Config:
    """Returns the configuration."""
    config = base.get_config()
    config.data.schema = "cavity"
    config.data.train_groups = ("B2",)
    return config
