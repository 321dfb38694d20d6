"""Parameters with their description: drawn, saved, loaded, refused."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cmrjax.labels import CAVITY, MULTI_TISSUE, LabelSchema
from cmrjax.synthesis import params as params_module
from cmrjax.synthesis.params import (
    ModelParams,
    default_schema,
    hash_params,
    init_params,
    load_params,
    save_params,
)
from cmrjax.training import model_folder
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import write_description
from cmrjax.training.state import GanState
from tests.synthesis.recorded_run import BEST, LAST, SAID, at, write_recorded_run
from tests.synthesis.tiny_models import make_params


@pytest.fixture(scope="module")
def model():
    return make_params()


@pytest.fixture
def without_drawing(monkeypatch):
    """Makes init_params cheap: what is drawn is replaced by nothing."""
    monkeypatch.setattr(params_module, "_draw", lambda *arguments: {})


def same_arrays(a: ModelParams, b: ModelParams) -> bool:
    equal = jax.tree.map(lambda x, y: np.array_equal(x, y), a.variables, b.variables)
    return all(jax.tree.leaves(equal))


def test_init_draws_what_the_network_needs_and_the_seed_decides():
    first = init_params(4, 64, base_features=1)
    again = init_params(4, 64, base_features=1)
    other = init_params(4, 64, seed=1, base_features=1)
    assert set(first.variables) == {"params", "batch_stats", "spectral"}
    assert first.variables["params"]["fc"]["kernel"].shape == (3, 3, 4, 16)
    assert first.description.schema == CAVITY
    assert first.description.image_size == 64
    assert first.origin.path == "untrained, seed 0"
    assert same_arrays(first, again)
    assert not same_arrays(first, other)


@pytest.mark.usefixtures("without_drawing")
def test_init_defaults_are_nine_classes_at_256_and_full_width():
    description = init_params().description
    assert description.schema == MULTI_TISSUE
    assert description.image_size == 256
    assert description.architecture.base_features == 64
    assert description.architecture.latent_size == 0


@pytest.mark.usefixtures("without_drawing")
def test_init_takes_a_schema_and_checks_it():
    schema = LabelSchema("mine", ("background", "scar"))
    assert init_params(schema=schema).description.schema == schema
    assert init_params(schema=schema).description.architecture.num_classes == 2
    with pytest.raises(ValueError, match="'mine' has 2 classes, the generator 3"):
        init_params(3, schema=schema)
    with pytest.raises(ValueError, match="image_size is 100; expected a positive mul"):
        init_params(4, 100)


@pytest.mark.parametrize(
    ("num_classes", "names"),
    [
        (4, CAVITY.class_names),
        (9, MULTI_TISSUE.class_names),
        (3, ("background", "class_1", "class_2")),
    ],
)
def test_default_schema(num_classes, names):
    assert default_schema(num_classes).class_names == names


def test_what_is_saved_is_loaded_bit_for_bit(model, tmp_path):
    save_params(model, tmp_path / "model")
    loaded = load_params(tmp_path / "model")
    assert same_arrays(model, loaded)
    assert loaded.description == model.description
    assert loaded.origin.step == 7
    assert loaded.origin.path == str(tmp_path / "model" / "checkpoints" / "7")
    assert hash_params(loaded) == hash_params(model)


@pytest.mark.parametrize("again", [False, True])
def test_a_copy_says_what_its_source_was_trained_on(model, tmp_path, again):
    """Also where the source is gone, and a copy of the copy."""
    write_recorded_run(tmp_path / "run", model)
    params = load_params(tmp_path / "run" / "checkpoints" / "best")
    shutil.rmtree(tmp_path / "run")
    save_params(params, tmp_path / "copy")
    loaded = load_params(tmp_path / "copy")
    folder = tmp_path / "copy"
    if again:
        save_params(loaded, tmp_path / "again")
        loaded, folder = load_params(tmp_path / "again"), tmp_path / "again"
    card = (folder / "MODEL_CARD.md").read_text()
    source = tmp_path / "copy" if again else tmp_path / "run"
    made = f"A copy of {source}/checkpoints/{BEST}, step {BEST}, the moving average."
    for part in (*SAID, *at(BEST), made, hash_params(params)):
        assert part in card, part
    assert "Not stated" not in card
    assert "Newest checkpoint" not in card
    assert (loaded.origin.step, loaded.origin.weights) == (BEST, "average")
    assert hash_params(loaded) == hash_params(params)
    with pytest.raises(ValueError, match=r"copy of the average alone; take weights='a"):
        load_params(folder, weights="last")


def test_the_figures_of_the_average_are_not_those_of_the_last_weights(model, tmp_path):
    write_recorded_run(tmp_path / "run", model)
    save_params(load_params(tmp_path / "run", weights="last"), tmp_path / "copy")
    card = (tmp_path / "copy" / "MODEL_CARD.md").read_text()
    assert "Of the moving average, which is not here. On validation slices" in card
    assert f"checkpoints/{LAST}, step {LAST}.\n" in card


def test_a_record_that_cannot_be_read_does_not_keep_a_model_from_loading(
    model, tmp_path, caplog
):
    write_recorded_run(tmp_path / "run", model)
    (tmp_path / "run" / "metrics.jsonl").write_text("[]\n[]\n")
    assert load_params(tmp_path / "run").origin.record == {}
    assert "run: what it was trained on cannot be read (" in caplog.text


def test_an_untrained_copy_says_so(model, tmp_path):
    save_params(model, tmp_path / "model")
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    for part in (
        "- Not recorded.",
        "- Not stated.",
        "- A copy of drawn.",
        "Nothing was",
    ):
        assert part in card, part
    assert "config.data.licence" not in card


def test_save_does_not_replace_unless_told(model, tmp_path):
    save_params(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"model exists already; .*overwrite=True"):
        save_params(model, tmp_path / "model")
    save_params(make_params(seed=1), tmp_path / "model", overwrite=True)
    assert same_arrays(load_params(tmp_path / "model"), make_params(seed=1))


@pytest.mark.parametrize("name", ["thesis.txt", "metrics.jsonl", "run.json"])
def test_save_replaces_neither_a_training_nor_a_home(model, tmp_path, name):
    save_params(model, tmp_path / "model")
    (tmp_path / "model" / name).write_text("x")
    with pytest.raises(ValueError, match=r"holds something else.*or remove it"):
        save_params(model, tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / name).read_text() == "x"
    with pytest.raises(ValueError, match="is a file; give another folder"):
        save_params(model, tmp_path / "model" / name, overwrite=True)


def test_a_failed_save_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(CheckpointStore, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_params(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def write_run(directory, model, *, steps):
    """A training run's folder; the generator's first bias tells the step."""
    write_description(directory, model.description, provenance={})
    with CheckpointStore(directory / "checkpoints", keep=5) as store:
        for step in steps:
            variables = jax.tree.map(jnp.asarray, model.variables)
            variables["params"]["fc"]["bias"] = jnp.full((16,), float(step))
            state = GanState(
                step=jnp.asarray(step),
                g_variables=variables,
                d_variables={"params": {"kernel": jnp.ones(3)}},
                g_opt_state=optax.adam(0.1).init(variables["params"]),
                d_opt_state=optax.adam(0.1).init({"kernel": jnp.ones(3)}),
            )
            store.save(step, state, position={"iterator": {}}, facts={})
            store.wait()


def test_of_a_training_run_the_newest_or_the_named_checkpoint_is_read(model, tmp_path):
    write_run(tmp_path, model, steps=(9, 10))
    newest = load_params(tmp_path)
    assert newest.origin.step == 10
    assert float(newest.variables["params"]["fc"]["bias"][0]) == 10.0
    named = load_params(tmp_path / "checkpoints" / "9")
    assert named.origin.step == 9
    assert float(named.variables["params"]["fc"]["bias"][0]) == 9.0
    assert set(named.variables) == {"params", "batch_stats", "spectral"}
    assert jax.tree.structure(named) == jax.tree.structure(newest)


def test_what_cannot_be_loaded_is_said(model, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: no such folder; expected the --w"):
        load_params(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"not a model folder: it has no model\.json"):
        load_params(tmp_path)
    write_description(tmp_path, model.description, provenance={})
    with pytest.raises(ValueError, match=r"no checkpoint yet: nothing is in .*checkp"):
        load_params(tmp_path)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)  # empty: no checkpoint
    with pytest.raises(ValueError, match="no checkpoint yet"):
        load_params(tmp_path)
    (tmp_path / "checkpoints" / "5" / "state").mkdir()
    with pytest.raises(ValueError, match=r"checkpoints/5 is damaged .*; remove tha"):
        load_params(tmp_path)


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(
    model, tmp_path, monkeypatch
):
    save_params(model, tmp_path / "model")

    def refuse(checkpoint, wanted):
        assert set(wanted) == {"g_variables"}
        raise ValueError(f"{checkpoint} does not hold the model (kernel)\nmany lines")

    monkeypatch.setattr(model_folder, "restore_subtree", refuse)
    with pytest.raises(ValueError, match=r"hold the model .* Expected a gen") as caught:
        load_params(tmp_path / "model")
    assert "4 classes, base_features 1, seed_stride 32" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hash_sees_arrays_and_description_but_not_the_place(model):
    elsewhere = model.replace(
        origin=dataclasses.replace(model.origin, path="elsewhere", step=1)
    )
    assert hash_params(elsewhere) == hash_params(model)
    spacing = dataclasses.replace(model.description, spacing=1.25)
    assert hash_params(model.replace(description=spacing)) != hash_params(model)
    moved = jax.tree.map(lambda x: x + np.float32(1e-3), model)
    assert hash_params(moved) != hash_params(model)


def test_models_are_pytrees_that_mix_only_with_their_like(model):
    other = make_params(seed=1, step=99)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, model, other)
    assert mean.description == model.description
    np.testing.assert_allclose(
        mean.variables["params"]["fc"]["bias"],
        model.variables["params"]["fc"]["bias"] / 2
        + other.variables["params"]["fc"]["bias"] / 2,
        rtol=1e-6,
    )
    schema = LabelSchema("other", ("background", "a", "b", "c"))
    with pytest.raises(ValueError, match=r"."):
        jax.tree.map(lambda a, b: a, model, make_params(schema=schema))
