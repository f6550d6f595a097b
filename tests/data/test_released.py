import shutil

import h5py
import numpy as np
import pytest

from deepmds_jax import load_released


def test_other_topology_raises():
    with pytest.raises(ValueError, match="'ibug68'"):
        load_released("nowhere", "ibug68")


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


def test_network_of_another_size_is_named(shared, tmp_path):
    source = shared / "data" / "authors_release" / "AE_occ2orth_FLAME.h5"
    shutil.copy(source, tmp_path / "AE_occ2orth_BFM.h5")
    with pytest.raises(ValueError, match="from 144 to 144 numbers, found 102 to 102"):
        load_released(tmp_path, "bfm72")
