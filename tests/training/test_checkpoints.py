import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deepmds_jax.training import checkpoints
from deepmds_jax.training.checkpoints import Checkpoints, read_run, read_stages, sole_training

RUN = {"method": "deep_mds", "rate": 0.125}
BESIDE = {"mean": np.ones(3, np.float32)}


def state(step):
    kernel = np.arange(600, dtype=np.float32).reshape(30, 20) + step
    return {"variables": {"params": {"kernel": kernel}}, "step": np.int32(step)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the last two of three checkpoints of one stage."""
    workdir = tmp_path_factory.mktemp("run")
    writing = Checkpoints(workdir, RUN, BESIDE)
    for step in (1, 2, 3):
        writing.save("encoder", step, state(step))
    writing.close()
    return workdir


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def kernel_of(workdir):
    return read_stages(workdir, ["encoder"])[0]["encoder"]["params"]["kernel"]


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def test_the_last_two_are_kept(saved):
    assert sorted(p.name for p in (saved / "encoder").iterdir()) == ["2", "3"]
    np.testing.assert_array_equal(kernel_of(saved), state(3)["variables"]["params"]["kernel"])
    assert read_run(saved) == RUN


def test_a_flipped_bit_in_any_file_is_one_line_and_the_one_before_is_offered(copy, capfd):
    last = copy / "encoder" / "3"
    assert len(files(last)) > 5
    for i, file in enumerate(files(last)):
        whole = file.read_bytes()
        flip(file, 1009 * i + 7)
        readings = (Checkpoints(copy, RUN, BESIDE).check, lambda: read_run(copy),
                    lambda: read_stages(copy, ["encoder"]),
                    lambda: Checkpoints(copy, RUN, BESIDE).restore("encoder", state(0)))
        for read in readings:
            with pytest.raises(ValueError, match=r"the checkpoint of step 3 is damaged: ") as error:
                read()
            assert "that of step 2 is whole, remove " in str(error.value)
            assert "\n" not in str(error.value)
        file.write_bytes(whole)
    assert capfd.readouterr().err == ""
    shutil.rmtree(last)
    np.testing.assert_array_equal(kernel_of(copy), state(2)["variables"]["params"]["kernel"])


def test_of_two_damaged_ones_neither_is_offered(copy):
    for step in ("2", "3"):
        largest = max(files(copy / "encoder" / step), key=lambda file: file.stat().st_size)
        flip(largest, 4321)
    with pytest.raises(ValueError, match=f"there is no other, remove {copy / 'encoder'} to train"):
        read_run(copy)


def test_checkpoints_of_a_version_without_checksums_are_read(copy):
    for file in copy.rglob(checkpoints._CHECKSUMS):
        file.unlink()
    assert read_run(copy) == RUN
    np.testing.assert_array_equal(kernel_of(copy), state(3)["variables"]["params"]["kernel"])


HOLD = """
import sys
from deepmds_jax.training.checkpoints import sole_training
with sole_training(sys.argv[1]):
    print("here", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_until_the_first_ends_or_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"here\n"
        message = f"^workdir: another training is writing to {tmp_path}; wait for it, or choose"
        with pytest.raises(ValueError, match=message), sole_training(tmp_path):
            raise AssertionError
        first.kill()
    for _ in range(2):
        with sole_training(tmp_path):
            pass
