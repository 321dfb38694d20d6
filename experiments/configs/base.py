"""All settings of a GAN training, with their defaults (SPEC 4, 5)."""

from typing import Any, TypeAlias

from ml_collections import ConfigDict

# A ConfigDict; the names in it are known when it runs, not to a type checker.
Config: TypeAlias = Any


def get_config() -> Config:
    """Returns the defaults: multi-tissue, 256 x 256, nf 64, batch 8, 50 epochs."""
    config: Config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.path = "data/prepared/mnms"  # of prepare_data or export_tfds
    config.data.schema = "multi_tissue"  # or "cavity"; labels are merged to it
    config.data.train_groups = ("A1",)  # vendor and centre; only the split "train"
    config.data.validation_groups = ("B3",)  # (): no validation
    config.data.validation_splits = ("development",)
    config.data.image_size = 256  # pixels; smaller than prepared: central crop
    config.data.flip = True  # both axes, p 0.5 each
    config.data.licence = ""  # of the data, for the model card; "": that known for them
    config.data.num_threads = 2  # that read batches ahead
    config.data.prefetch = 4  # batches

    config.model = ConfigDict()
    config.model.base_features = 64  # nf, width unit of G and of D
    config.model.seed_stride = 32  # image side / seed side: 32, 64 or 128
    config.model.latent_size = 0  # 0: G starts from the labels; 256: from z
    config.model.paper_equation = False  # SPADE as in the paper's eq. 4
    config.model.modulation = "table"  # exact and fast; "dense": as the reference
    config.model.num_scales = 2  # discriminators
    config.model.dtype = "float32"  # of activations: float32 or bfloat16
    config.model.rematerialise = False  # True: less memory, more time, same values

    config.loss = ConfigDict()
    config.loss.feature_matching_weight = 10.0
    config.loss.perceptual_weight = 10.0
    config.loss.perceptual_layers = "reference"  # 1/32 .. 1; "paper": all 1
    config.loss.vgg19_weights = "weights/vgg19.npz"  # "": no perceptual loss
    config.loss.reduction = "mean"  # over D's scales; "sum": the paper

    config.optimizer = ConfigDict()
    config.optimizer.g_learning_rate = 1e-4
    config.optimizer.d_learning_rate = 4e-4
    config.optimizer.b1 = 0.0
    config.optimizer.b2 = 0.9
    config.optimizer.constant_epochs = 50
    config.optimizer.decay_epochs = 0  # linear to 0 after the constant ones
    config.optimizer.average_decay = 0.0  # of G's moving average; 0: none, as SPADE
    config.optimizer.generator_passes = 2  # 1: both updates share G's images (faster)

    config.training = ConfigDict()
    config.training.batch_size = 8  # over all devices
    config.training.accumulation = 1  # parts of a batch in turn; BN is over a part
    config.training.num_steps = 0  # 0: what the epochs come to
    config.training.report_every = 50  # steps
    config.training.checkpoint_every = 2000  # steps
    config.training.checkpoint_minutes = 15.0  # at the latest
    config.training.keep_checkpoints = 2  # the newest, and that of the best validation:
    config.training.keep_best = "validation_ssim"  # or _psnr, _nrmse; "": not
    config.training.tensorboard = True

    config.evaluation = ConfigDict()
    config.evaluation.every = 1000  # steps
    config.evaluation.max_slices = 64  # evenly spaced over those there are; 0: all
    config.evaluation.batch_size = 8
    config.evaluation.panel_rows = 4
    return config.lock()
