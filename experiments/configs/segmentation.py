"""All settings of a segmentation training, with their defaults (SPEC 3)."""

from ml_collections import ConfigDict

from experiments.configs.base import Config


def get_config() -> Config:
    """Returns the defaults: the paper's network and schedule, 256 x 256 at 1.25 mm."""
    config: Config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.paths = ("data/prepared/simulated_segmentation",)  # prepared folders
    config.data.validation_splits = ("development",)
    config.data.image_size = 0  # crop that is trained on, pixels; 0: prepared size
    config.data.licence = ""  # of the data, for the model card; "": that known for them
    config.data.num_threads = 2  # that read batches ahead
    config.data.prefetch = 4  # batches

    config.model = ConfigDict()
    config.model.base_features = 32  # channels at full resolution
    config.model.max_features = 512  # of any level
    config.model.levels = 5  # down- and up-sampling blocks
    config.model.dropout = 0.5
    config.model.dtype = "float32"  # of activations: float32 or bfloat16

    config.loss = ConfigDict()
    config.loss.alpha = 0.7  # Tversky weight of false negatives
    config.loss.beta = 0.3  # of false positives
    config.loss.gamma = 4.0 / 3.0  # focus
    config.loss.cross_entropy_weight = 0.0  # above 0: added; the paper has none

    config.augmentation = ConfigDict()
    config.augmentation.rotation = 180.0  # degrees, largest
    config.augmentation.smallest_scale = 0.75
    config.augmentation.largest_scale = 1.35
    config.augmentation.shift = 0.08  # of the side, largest
    config.augmentation.flip = True  # both axes, p 0.5 each
    config.augmentation.elastic = 0.0  # of the side, standard deviation
    config.augmentation.intensity = 0.0  # share of examples with new signals; 0: paper

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 1e-4
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.patience = 10  # epochs without better loss, then
    config.optimizer.factor = 0.5  # the rate is multiplied by this
    config.optimizer.smallest_rate = 1e-6  # below, the training is over

    config.training = ConfigDict()
    config.training.start_from = ""  # --workdir of a trained network; "": random
    config.training.batch_size = 32  # over all devices
    config.training.accumulation = 1  # parts of a batch in turn; BN is over a part
    config.training.epochs = 350  # at most
    config.training.steps_per_epoch = 0  # 0: each slice once
    config.training.report_every = 20  # steps
    config.training.checkpoint_minutes = 10.0  # besides one at every epoch's end
    config.training.keep_checkpoints = 2  # the newest, and that of the best validation:
    config.training.keep_best = "validation_loss"  # or "validation_dice"; "": not
    config.training.tensorboard = True

    config.evaluation = ConfigDict()
    # Evenly spaced, 0: all; the rate follows their loss.
    config.evaluation.max_slices = 400
    config.evaluation.batch_size = 16
    config.evaluation.panel_rows = 6
    return config.lock()
