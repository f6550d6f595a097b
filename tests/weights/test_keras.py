import shutil

import h5py
import numpy as np
import pytest

from deepmds_jax.methods import mobileface, zhao
from deepmds_jax.methods.deep_mds import load_released


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"AE_occ2orth_BFM\.h5: no such file"):
        load_released(tmp_path, "bfm72")


def test_damaged_file_is_named(tmp_path):
    (tmp_path / "AE_occ2orth_BFM.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    with pytest.raises(ValueError, match=r"AE_occ2orth_BFM\.h5: not a whole Keras"):
        load_released(tmp_path, "bfm72")


def test_hdf5_file_of_another_kind_is_named(tmp_path):
    with h5py.File(tmp_path / "AE_occ2orth_BFM.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"AE_occ2orth_BFM\.h5: not a whole Keras"):
        load_released(tmp_path, "bfm72")


def copy_with(source, target, name, change):
    """A copy of an HDF5 file in which `change` has been made to one of its arrays."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        array = change(file[name][:])
        del file[name]
        file[name] = array


def test_network_of_another_size_is_named(shared, tmp_path):
    source = shared / "data" / "authors_release" / "AE_occ2orth_FLAME.h5"
    shutil.copy(source, tmp_path / "AE_occ2orth_BFM.h5")
    with pytest.raises(ValueError, match=r"Autoencoder is expected as \(144.*found as \(102"):
        load_released(tmp_path, "bfm72")


@pytest.mark.parametrize(("layer", "weight"), [
    ("conv_dw_5/conv_dw_5", "depthwise_kernel:0"), ("conv_pw_7_bn/conv_pw_7_bn", "gamma:0"),
])
def test_inner_tensor_of_another_shape_is_named(shared, tmp_path, layer, weight):
    name = "deep_mobileface_occ.h5"
    source = shared / "data" / "authors_release" / name
    copy_with(source, tmp_path / name, f"{layer}/{weight}", lambda x: x[..., :-1, :]
              if x.ndim > 1 else x[:-1])
    with pytest.raises(ValueError, match=rf"{name}: (depthwise5/kernel|pointwise7_norm/scale) of "
                                         r"MobileFace is expected as \(.*\), found as"):
        mobileface.load_released(tmp_path, "bfm72")


def test_missing_inner_tensor_is_named(shared, tmp_path):
    name = "deep_PAMI_occ1.h5"
    shutil.copy(shared / "data" / "authors_release" / name, tmp_path)
    with h5py.File(tmp_path / name, "r+") as file:
        layers = [n.decode() for n in file.attrs["layer_names"]]
        layer = [n for n in layers if n in file and n in file[n]][2]
        del file[layer][layer]["bias:0"]
    with pytest.raises(ValueError, match=r"dense3/bias of ZhaoNetwork is expected as \(144,\), "
                                         "found as None"):
        zhao.load_released(tmp_path, "bfm72")


def test_number_that_is_not_finite_is_named(shared, tmp_path):
    name = "deep_PAMI_occ1.h5"
    shutil.copy(shared / "data" / "authors_release" / name, tmp_path)
    with h5py.File(tmp_path / name, "r+") as file:
        layers = [n.decode() for n in file.attrs["layer_names"]]
        layer = next(n for n in layers if n in file and n in file[n])
        file[layer][layer]["kernel:0"][3, 3] = np.nan
    with pytest.raises(ValueError, match="dense1/kernel is not finite"):
        zhao.load_released(tmp_path, "bfm72")


def test_missing_mobileface_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"deep_mobileface_occ\.h5: no such file"):
        mobileface.load_released(tmp_path, "bfm72")
