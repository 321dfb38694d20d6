r"""Small SPADE GAN on labelled scans, all nine tissues: what `make demo` trains last.

96 x 96 pixels of 2.66 mm, nf 8; no VGG19 weights needed.

    python -m experiments.train_gan \
        --config=experiments/configs/multi_demo.py --workdir=runs/demo/model
"""

from experiments.configs import base


def get_config() -> base.Config:
    """Returns the configuration."""
    config = base.get_config()
    config.data.path = "runs/demo/labelled"
    config.data.train_groups = ("S1",)
    config.data.validation_groups = ("S1",)
    config.data.image_size = 96
    config.model.base_features = 8
    config.loss.vgg19_weights = ""
    config.optimizer.g_learning_rate = 4e-4  # few steps: G learns as fast as D
    config.optimizer.generator_passes = 1
    config.training.num_steps = 160
    config.training.report_every = 10
    config.training.checkpoint_every = 40
    config.evaluation.every = 40
    config.evaluation.max_slices = 24
    return config
