r"""SPADE GAN on M&Ms vendor B, centre 2: all nine tissues (multi).

Reproduces the model GenB2 of Amirrajab et al. 2022, section 4.4.

    python -m experiments.train_gan \
        --config=experiments/configs/multi_b2.py --workdir=runs/multi_b2

Needs multi-tissue maps (config.data.path), which experiments.label_real makes with a
network of experiments.train_segmentation.

Expected figure: the paper prints none for this model alone.
Expected time: 50 epochs; not yet measured at this size on a GPU.
"""

from experiments.configs import base


def get_config() -> base.Config:
    """Returns the configuration."""
    config = base.get_config()
    config.data.path = "data/prepared/mnms_multi"
    config.data.schema = "multi_tissue"
    config.data.train_groups = ("B2",)
    return config
