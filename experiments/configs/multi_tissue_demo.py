r"""Small segmentation network for simulated images: what `make demo` trains first.

96 x 96 pixels of 2.66 mm, 8 features.

    python -m experiments.train_segmentation \
        --config=experiments/configs/multi_tissue_demo.py --workdir=runs/demo/segmenter
"""

from experiments.configs import multi_tissue_cpu
from experiments.configs.base import Config


def get_config() -> Config:
    """Returns the configuration."""
    config = multi_tissue_cpu.get_config()
    config.data.paths = ("runs/demo/database_prepared",)
    config.data.image_size = 0  # as prepared
    config.model.base_features = 8
    config.model.max_features = 128
    config.augmentation.rotation = 20.0  # few steps: what the demo's scans need
    config.augmentation.smallest_scale, config.augmentation.largest_scale = 0.9, 1.1
    config.augmentation.intensity = 0.3
    config.optimizer.learning_rate = 3e-3
    config.training.epochs = 8
    config.training.steps_per_epoch = 40
    config.evaluation.max_slices = 64
    return config
