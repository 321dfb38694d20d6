r"""Segmentation of nine tissues, trained on simulated images alone (SPEC 3).

The paper's network, loss and schedule; to its augmentation (scaling, rotation, flips)
intensity randomisation is added, without which the network knows one simulator's
contrast. --config.augmentation.intensity=0 --config.augmentation.elastic=0 is the
paper's plain recipe.

    python -m experiments.simulate --subjects=130 --image-size=256 --out=data/simulated
    python -m experiments.prepare_data --dataset=simulated --source=data/simulated \
        --out=data/prepared/simulated_segmentation \
        --transform=zscore --spacing=1.25 --all-slices
    python -m experiments.train_segmentation \
        --config=experiments/configs/multi_tissue.py --workdir=runs/multi_tissue

Expected time: made for a GPU, not measured on one; two CPU cores: multi_tissue_cpu.
"""

from experiments.configs import segmentation
from experiments.configs.base import Config


def get_config() -> Config:
    """Returns the configuration."""
    config = segmentation.get_config()
    config.augmentation.intensity = 0.7
    config.augmentation.elastic = 0.02
    return config
