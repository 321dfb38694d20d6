"""Names and axis orders of the public PyTorch networks."""

import numpy as np
import pytest

from cmrjax.models.interchange import from_torch_names


def state():
    rng = np.random.default_rng(0)
    shapes = {
        "fc.weight": (6, 5),
        "fc.bias": (6,),
        "up_0.conv_0.weight_orig": (4, 3, 2, 5),
        "up_0.conv_0.weight_u": (4,),
        "up_0.conv_0.weight_v": (30,),
        "up_0.norm_s.param_free_norm.running_mean": (3,),
        "up_0.norm_s.param_free_norm.running_var": (3,),
        "up_0.norm_s.mlp_shared.0.weight": (7, 3, 3, 3),
        "discriminator_1.model1.0.0.weight_orig": (2, 3, 4, 4),
        "discriminator_1.model4.0.bias": (1,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_names_collections_and_axes():
    torch = state()
    tree = from_torch_names(
        {**torch, "up_0.norm_s.param_free_norm.num_batches_tracked": np.array(7)}
    )
    assert sorted(tree) == ["batch_stats", "params", "spectral"]
    params = tree["params"]
    np.testing.assert_allclose(params["fc"]["kernel"], torch["fc.weight"].T, rtol=1e-6)
    kernel = params["up_0"]["conv_0"]["kernel"]
    assert kernel.shape == (2, 5, 3, 4)
    assert kernel.dtype == np.float32
    original = torch["up_0.conv_0.weight_orig"]
    assert kernel[1, 4, 2, 3] == np.float32(original[3, 2, 1, 4])
    assert params["up_0"]["norm_s"]["mlp_shared"]["kernel"].shape == (3, 3, 3, 7)
    assert params["discriminator_1"]["model1"]["kernel"].shape == (4, 4, 3, 2)
    assert params["discriminator_1"]["model4"]["bias"].shape == (1,)
    norm = tree["batch_stats"]["up_0"]["norm_s"]["param_free_norm"]
    assert sorted(norm) == ["mean", "var"]


def test_v_runs_over_channels_rows_columns():
    """u^T W v is the same number before and after."""
    torch = state()
    tree = from_torch_names(torch)
    name = "up_0.conv_0."
    matrix = torch[name + "weight_orig"].reshape(4, -1)
    expected = torch[name + "weight_u"] @ matrix @ torch[name + "weight_v"]
    spectral = tree["spectral"]["up_0"]["conv_0"]
    kernel = tree["params"]["up_0"]["conv_0"]["kernel"]
    assert spectral["v"].shape == (2, 5, 3)
    sigma = np.einsum("hwio,hwi,o->", kernel, spectral["v"], spectral["u"])
    np.testing.assert_allclose(sigma, expected, rtol=1e-5)


def test_only_collections_that_occur_are_made():
    assert list(from_torch_names({"fc.bias": np.zeros(2)})) == ["params"]


def test_errors():
    with pytest.raises(ValueError, match=r"'gain' is not one of .*weight_orig"):
        from_torch_names({"fc.gain": np.zeros(2)})
    with pytest.raises(ValueError, match=r"c\.weight_v has no c\.weight_orig beside"):
        from_torch_names({"c.weight_v": np.zeros(4)})
