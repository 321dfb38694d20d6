"""Which slices a training sees."""

import pytest

from cmrjax.data.intensity import ZScoreTransform
from experiments import label_real
from experiments.gan_data import (
    LABEL_COMMANDS,
    input_fingerprints,
    open_gan_data,
)
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_run import tiny_config, tiny_data


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


def test_training_and_validation_slices_have_no_subject_in_common(data_path):
    config = tiny_config(data_path)
    data = open_gan_data(config)
    assert data.validation is not None
    assert {info.split for info in data.train.slices} == {"train"}
    assert {info.group for info in data.validation.slices} == {"B3"}
    train = {info.subject for info in data.train.slices}
    assert not train & {info.subject for info in data.validation.slices}
    assert len(data.validation) == config.evaluation.max_slices


def test_fingerprint_follows_the_slices(data_path):
    config = tiny_config(data_path)
    first = input_fingerprints(open_gan_data(config), None)
    assert first == input_fingerprints(open_gan_data(config), None)
    config.data.image_size = 16
    assert first != input_fingerprints(open_gan_data(config), None)
    assert first["vgg19_weights"] == "none"


def test_z_scores_are_refused(tmp_path):
    """The generator's images end at -1 and 1; a z-score does not."""
    path = make_prepared(
        tmp_path / "zscore", count=12, size=(32, 32), transform=ZScoreTransform()
    )
    with pytest.raises(
        ValueError,
        match=r"zscore holds z-scores, for the segm.* --transform=percentile",
    ):
        open_gan_data(tiny_config(path))


@pytest.mark.parametrize("there", [True, False])
def test_missing_labels_of_all_tissues_name_the_commands_that_make_them(
    tmp_path, data_path, there
):
    config = tiny_config(data_path if there else tmp_path / "nothing")
    config.data.schema = "multi_tissue"
    with pytest.raises(ValueError, match="come from the segmentation network") as error:
        open_gan_data(config)
    text = str(error.value)
    for command in ("train_segmentation", "label_real", "simulate", "prepare_data"):
        assert f"python -m experiments.{command} " in text


def test_the_command_that_labels_is_one_that_exists():
    """The options in the message are those of label_real."""
    command = LABEL_COMMANDS.replace("\\\n", "").split("experiments.label_real")[1]
    options = label_real.build_parser().parse_args(command.split())
    assert options.out == "data/prepared/mnms_multi"
