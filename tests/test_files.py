import pytest

from deepmds_jax.files import all_or_none, replacing


def test_replacing_leaves_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_of_several_files_none_is_left_when_one_fails(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("old")
    with pytest.raises(RuntimeError), all_or_none():
        for path in (old, new):
            with replacing(path) as temporary:
                temporary.write_text("written")
        assert old.read_text() == "old"
        with all_or_none(), replacing(tmp_path / "inner.txt") as temporary:
            temporary.write_text("written")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "old"
    with all_or_none():
        for path in (old, new):
            with replacing(path) as temporary:
                temporary.write_text("written")
    assert sorted(tmp_path.iterdir()) == [new, old]
    assert old.read_text() == new.read_text() == "written"


def test_a_folder_in_the_place_of_one_file_leaves_the_others_as_they_were(tmp_path):
    first, folder = tmp_path / "first.txt", tmp_path / "folder.txt"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="folder is there"), all_or_none():
        for path in (first, folder):
            with replacing(path) as temporary:
                temporary.write_text("written")
    assert list(tmp_path.iterdir()) == [folder]
