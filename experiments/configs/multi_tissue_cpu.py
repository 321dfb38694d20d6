r"""Segmentation of nine tissues as in multi_tissue, sized for two CPU cores.

128 x 128 pixels of 2 mm, 12 features.

    python -m experiments.simulate --subjects=130 --image-size=256 --out=data/simulated
    python -m experiments.prepare_data --dataset=simulated --source=data/simulated \
        --out=data/prepared/simulated_2mm \
        --transform=zscore --spacing=2 --image-size=176 --all-slices
    python -m experiments.train_segmentation \
        --config=experiments/configs/multi_tissue_cpu.py --workdir=runs/multi_tissue_cpu
"""

from experiments.configs import multi_tissue
from experiments.configs.base import Config


def get_config() -> Config:
    """Returns the configuration."""
    config = multi_tissue.get_config()
    config.data.paths = ("data/prepared/simulated_2mm",)
    config.data.image_size = 128  # of 176: what is shrunk stays filled
    config.model.base_features = 12
    config.model.max_features = 256
    config.model.dropout = 0.1  # a network this small has little to spare
    config.loss.cross_entropy_weight = 1.0  # learns faster from the start
    config.augmentation.rotation = 50.0  # scanners agree on which side is up, and
    config.augmentation.flip = False  # a short training has no time to learn them all
    config.augmentation.smallest_scale = 0.6  # M&Ms: pixels of 1.0 to 2.1 mm
    config.augmentation.largest_scale = 1.5
    config.optimizer.learning_rate = 2e-3  # few steps
    config.optimizer.patience = 3
    config.training.batch_size = 16
    config.training.epochs = 40
    config.training.steps_per_epoch = 100
    config.evaluation.max_slices = 128
    return config
