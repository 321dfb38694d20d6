"""Reading TFDS data sets: what is refused, with and without TFDS installed.

What is read is tested in test_tfds_builder.py, which writes it.
"""

import json
import sys

import pytest

from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.tfds_reader import is_tfds, sha256_as_npy
from tests.data.prepared_folder import make_prepared


def test_a_missing_extra_is_one_line_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # not importable
    with pytest.raises(ValueError, match=r'extra tfds: pip install -e "\.\[tfds\]"$'):
        PreparedDataset.open(tmp_path)


def test_the_folder_above_names_the_data_sets_below(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / "cardiac_slices" / name / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    assert is_tfds(folder)
    for above in (tmp_path, tmp_path / "cardiac_slices"):
        with pytest.raises(ValueError, match="name one of them") as caught:
            PreparedDataset.open(above)
        assert str(caught.value).endswith("one/1.0.0, " + str(folder))


def test_another_data_set_of_tfds_is_refused(tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="needs the extra tfds")
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "array_record"}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"cannot be read \(.*; make the data set"):
        PreparedDataset.open(tmp_path)
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    features = {"pythonClassName": kind, "featuresDict": {"features": {}}}
    (tmp_path / "features.json").write_text(json.dumps(features))
    with pytest.raises(ValueError, match="not the manifest of a prepared folder"):
        PreparedDataset.open(tmp_path)


def test_the_hash_is_that_of_the_file(tmp_path):
    """A memory map stands for the records: both are indexed by slice."""
    data = PreparedDataset.open(make_prepared(tmp_path / "d"))
    for name, array in (("images", data.images), ("labels", data.labels)):
        expected = data.manifest["arrays"][name]["sha256"]
        found = sha256_as_npy(array)  # pyright: ignore[reportArgumentType]
        assert found == expected
