r"""SPADE GAN on M&Ms vendor A, centre 1, nine tissues, sized for two CPU cores.

As cavity_a1_cpu but for the labels, so that the two can be compared step by step. On
two cores 2 seconds a step, an hour in all; SSIM 0.327 on B3 evaluation subjects, cavity
0.177, class-mean image 0.323 (docs/results).

    python -m experiments.label_real --model=runs/multi_tissue_cpu --dataset=mnms \
        --source=/data/MnMs --out=data/prepared/mnms_multi
    python -m experiments.train_gan \
        --config=experiments/configs/multi_a1_cpu.py --workdir=runs/multi_a1_cpu
"""

from experiments.configs import base, cavity_a1_cpu


def get_config() -> base.Config:
    """Returns the configuration."""
    config = cavity_a1_cpu.get_config()
    config.data.path = "data/prepared/mnms_multi"
    config.data.schema = "multi_tissue"
    return config
