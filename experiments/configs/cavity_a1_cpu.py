r"""SPADE GAN on M&Ms vendor A, centre 1, heart classes only, sized for two CPU cores.

128 x 128 pixels around the centre, nf 16. On two cores 2.1 seconds a step, 3 hours in
all; after 2543 steps SSIM 0.168 on B3 development subjects, class-mean image 0.271
(docs/results).

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
