"""Fetching MediaPipe's model, from a server of this process."""

import functools
import hashlib
import http.server
import threading

import pytest

from deepmds_jax.data.photos.face_model import fetch_face_model

CONTENT = b"a model" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()

pytest.importorskip("pooch", reason="pooch is not installed")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        del format, args


@pytest.fixture
def server(tmp_path):
    """Its address, and the folder it serves."""
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "face_landmarker.task").write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()
        thread.join()


def test_model_is_fetched_once(server, tmp_path, monkeypatch):
    address, folder = server
    cache = tmp_path / "cache"
    model = fetch_face_model(cache, f"{address}/face_landmarker.task", HASH)
    assert model == cache / "face_landmarker.task"
    assert model.read_bytes() == CONTENT
    (folder / "face_landmarker.task").unlink()
    assert fetch_face_model(cache, f"{address}/face_landmarker.task", HASH) == model
    # By default it is in the user's cache.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr("sys.platform", "linux")
    (folder / "face_landmarker.task").write_bytes(CONTENT)
    found = fetch_face_model(None, f"{address}/face_landmarker.task", HASH)
    assert found.is_relative_to(tmp_path) and found.parent.name == "deepmds_jax"


def test_another_file_is_not_kept(server, tmp_path):
    address, _ = server
    with pytest.raises(ValueError, match=r"another hash: damaged, or changed.*--face_model=FILE$"):
        fetch_face_model(tmp_path / "cache", f"{address}/face_landmarker.task", "0" * 64)
    assert not list((tmp_path / "cache").iterdir())


def test_a_model_that_cannot_be_had_is_told_in_a_line(server, tmp_path):
    address, _ = server
    for missing, reason in ((f"{address}/none.task", "HTTP status 404"),
                            ("http://127.0.0.1:9/a.task", "no connection")):
        expected = rf"cannot be fetched from {missing} \({reason}\)"
        with pytest.raises(ValueError, match=expected) as told:
            fetch_face_model(tmp_path / "cache", missing, HASH)
        assert str(told.value).startswith("face_model: ") and "--face_model=" in str(told.value)
        assert "\n" not in str(told.value)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"face_model: .*cannot be fetched"):
        fetch_face_model(tmp_path / "file" / "cache", address, HASH)
