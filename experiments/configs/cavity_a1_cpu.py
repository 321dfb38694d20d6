r"""SPADE GAN on M&Ms vendor A, centre 1, heart classes only, sized for two CPU cores.

128 x 128 pixels around the centre, nf 16: some 3 seconds a step on two cores.

    python -m experiments.train_gan \
        --config=experiments/configs/cavity_a1_cpu.py --workdir=runs/cavity_a1_cpu
"""

from experiments.configs import base


def get_config() -> base.Config:
    """Returns the configuration."""
    config = base.get_config()
    config.data.schema = "cavity"
    config.data.train_groups = ("A1",)
    config.data.image_size = 128
    config.model.base_features = 16
    config.training.report_every = 20
    config.training.checkpoint_every = 500
    config.evaluation.every = 200
    config.evaluation.max_slices = 32
    return config
