"""The label maps and images that the benchmark runs on."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from cmrjax.data.manifest import MANIFEST_FILE
from cmrjax.data.schema_file import find_schema
from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.labels import MULTI_TISSUE, LabelSchema
from cmrjax.simulation.anatomy import paint_anatomy, sample_anatomy
from cmrjax.simulation.tissues import tissue_to_class
from cmrjax.simulation.xcat import open_xcat
from cmrjax.simulation.xcat_short_axis import resample_short_axis
from experiments.configs.base import Config

SIMULATED = "simulated"
FIELD_OF_VIEW = 256 * 1.33  # mm, at any image size
SUBJECTS = 3  # simulated, both phases of each
FRAMES = 4  # of an XCAT phantom


class MapSource:
    """Label maps in memory with an image for each, as `SliceSource` gives them.

    Args:
      label_maps: [n, h, w] uint8, ids of `schema`.
      schema: meaning of the ids.
      name: what they are, for the report.
    """

    def __init__(self, label_maps: np.ndarray, schema: LabelSchema, name: str) -> None:
        schema.validate(label_maps, where=name)
        self.schema, self.name = schema, name
        self.image_size = label_maps.shape[1:]
        self._label_maps = np.ascontiguousarray(label_maps)
        self._images = images_from_labels(label_maps, schema.num_classes)

    def __len__(self) -> int:
        """Number of maps."""
        return len(self._label_maps)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Returns one example: label_map, image, valid_mask (all True) and index."""
        labels = self._label_maps[index]
        return {
            "label_map": labels,
            "image": self._images[index],
            "valid_mask": np.ones((*labels.shape, 1), bool),
            "index": np.asarray(index, np.int32),
        }


def open_maps(maps: str, config: Config) -> Any:
    """Opens what `--maps` names, at the image size and in the schema of a config.

    Args:
      maps: "simulated", a folder that prepare_data wrote, or an XCAT zip file or folder
        (see `cmrjax.simulation.xcat`).
      config: see `experiments/configs/base.py`.

    Returns:
      A `MapSource`, or the training slices as a `SliceSource`.

    Raises:
      ValueError: there is no such thing, or it does not fit the configuration.
    """
    side = config.data.image_size
    schema = find_schema(config.data.schema)
    if not 16 <= side <= 1024:
        raise ValueError(f"config.data.image_size is {side}; expected 16 to 1024")
    if maps == SIMULATED:
        return MapSource(_in_schema(_simulate(side), schema), schema, SIMULATED)
    path = Path(maps)
    if not path.exists():
        raise ValueError(
            f"--maps={maps}: no such file or folder; expected 'simulated', a folder "
            "that experiments.prepare_data wrote, or an XCAT zip file"
        )
    if (path / MANIFEST_FILE).is_file():
        return _prepared(path, config, schema)
    name = f"XCAT {path.name}"
    return MapSource(_in_schema(_read_xcat(path, side), schema), schema, name)


def name_of(source: Any) -> str:
    """Names the maps for the report."""
    return getattr(source, "name", None) or f"prepared {source.dataset.path.name}"


def training_slices(source: Any) -> int:
    """Counts the slices of a training set; 0 for maps that stand in for one."""
    return 0 if isinstance(source, MapSource) else len(source)


def take_batches(source: Any, batch_size: int, count: int) -> list[dict]:
    """Makes batches of examples that are spread evenly over a source.

    Args:
      source: from `open_maps`.
      batch_size: b.
      count: of batches.

    Returns:
      Dictionaries of label_map [b, h, w], image [b, h, w, 1], valid_mask [b, h, w, 1].
    """
    wanted = batch_size * count
    positions = np.linspace(0, len(source) - 1, wanted).round().astype(int)
    batches = []
    for i in range(count):
        # Each batch from the whole range, as a shuffled one is.
        examples = [source[int(p)] for p in positions[i::count]]
        names = ("label_map", "image", "valid_mask")
        batches.append({n: np.stack([e[n] for e in examples]) for n in names})
    return batches


def images_from_labels(label_maps: np.ndarray, num_classes: int) -> np.ndarray:
    """Paints each class with a brightness, blurs, and adds smooth noise.

    Args:
      label_maps: [n, h, w] ids.
      num_classes: k.

    Returns:
      [n, h, w, 1] float32 in [-1, 1].
    """
    rng = np.random.default_rng(0)
    brightness = np.linspace(-0.9, 0.9, num_classes, dtype=np.float32)
    brightness[1:] = rng.permutation(brightness[1:])
    images = brightness[label_maps]
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    images = ndimage.gaussian_filter(images, (0, 0.8, 0.8))
    images += 0.3 * ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    return images.clip(-1, 1)[..., None]


def _simulate(side: int) -> np.ndarray:
    """Maps [n, side, side] of the built-in torsos, ids of MULTI_TISSUE."""
    maps = []
    for seed in range(SUBJECTS):
        rng = np.random.default_rng(seed)
        anatomy = sample_anatomy(rng, image_size=side, spacing=FIELD_OF_VIEW / side)
        tissue = paint_anatomy(anatomy, rng, sub_slices=1)[:, :, 0]
        maps.extend(tissue_to_class()[tissue])
    return np.concatenate(maps)


def _read_xcat(path: Path, side: int) -> np.ndarray:
    """Maps [n, side, side] of frames spread over a phantom, ids of MULTI_TISSUE."""
    phantom = open_xcat(path)
    chosen = np.linspace(0, len(phantom.frames) - 1, FRAMES).round().astype(int)
    frames = [phantom.frames[i] for i in dict.fromkeys(chosen.tolist())]
    return np.concatenate(
        [
            resample_short_axis(
                phantom.read_labels(frame),
                phantom.spacing,
                target_spacing=FIELD_OF_VIEW / side,
                image_size=side,
            )
            for frame in frames
        ]
    )


def _in_schema(label_maps: np.ndarray, schema: LabelSchema) -> np.ndarray:
    return MULTI_TISSUE.merge_table(schema)[label_maps]


def _prepared(path: Path, config: Config, schema: LabelSchema) -> SliceSource:
    """The training slices of the config's groups, or of all where it has none."""
    dataset = PreparedDataset.open(path)
    groups = {info.group for info in dataset.slices}
    wanted = set(config.data.train_groups) & groups or groups
    chosen = dataset.select(groups=sorted(wanted), splits=("train",))
    return SliceSource(
        dataset, chosen, schema=schema, image_size=config.data.image_size
    )
