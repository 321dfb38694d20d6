r"""SPADE GAN on M&Ms vendor A, centre 1, heart classes only, sized for two CPU cores.

128 x 128 pixels around the centre, nf 16, 16 epochs. On two cores about 1.2 seconds a
step, 40 minutes in all; SSIM 0.177 on B3 evaluation subjects, class-mean image 0.246
(docs/results). For so few steps of so narrow a network G learns as fast as D, one pass
serves both updates, VGG19's layers count alike (the paper's eq. 9) with a weight of 3,
and the moving average of G is what is kept.

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
    config.loss.perceptual_layers = "paper"
    config.loss.perceptual_weight = 3.0
    config.optimizer.g_learning_rate = 4e-4
    config.optimizer.constant_epochs = 12
    config.optimizer.decay_epochs = 4
    config.optimizer.average_decay = 0.998
    config.optimizer.generator_passes = 1
    config.training.report_every = 20
    config.training.checkpoint_every = 500
    config.evaluation.every = 200
    config.evaluation.max_slices = 32
    return config
