"""A valid file of each kind that is read, and how it is read."""

import functools
import io
import json
import pathlib
import pickle
import tempfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import h5py
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.formats import hdf5, matlab, meshes, pickles
from deepmds_jax.data.formats.dissimilarity_files import (
    check_dissimilarities,
    check_symmetric,
    read_matrix,
)
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.formats.shape_files import write_shapes
from deepmds_jax.data.sources import shapes
from deepmds_jax.many.stream import reconstruct_files, run_parts
from deepmds_jax.mds import Status
from deepmds_jax.methods.external import read_predictions
from deepmds_jax.methods.saved import load_params, load_pretrained
from deepmds_jax.training.checkpoints import Checkpoints, read_run, read_stages
from deepmds_jax.weights import locate
from deepmds_jax.weights.keras import number_layers, read_keras_network

N = 51
FACE = np.round(np.random.default_rng(0).uniform(100, 300, (N, 2)), 2)
SHAPE = np.column_stack([FACE, FACE[:, 0] - 200]).round(2)
Reader = Callable[[pathlib.Path], dict[str, np.ndarray]]


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
      files: name -> content, each of which may be damaged.
      path: what is read of these, a file or the folder of all.
      read: its arrays by name, NaN where it says that a number is not known.
      is_text: whether it is a text of numbers.
      is_exact: whether it has checksums: what is read must be what was written.
    """

    files: Mapping[str, bytes]
    path: str
    read: Reader
    is_text: bool = False
    is_exact: bool = False


def read_faces(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = {}
    for name, face in read_landmarks(path).items():
        count = len(face)
        assert face.points.shape == (count, 2) and face.points.dtype == np.float64, "points"
        assert face.visible.shape == (count,) and face.visible.dtype == bool, "visible"
        assert np.isfinite(face.points[face.visible]).all(), "not finite, but visible"
        for other in (face.confidence, face.depth):
            assert other is None or np.shape(other) in ((), (count,)), "confidence or depth"
        found[name] = np.where(face.visible[:, None], face.points, np.nan)
    assert found, "no faces, and no error"
    return found


def read_dissimilarities(path: pathlib.Path) -> dict[str, np.ndarray]:
    matrix = read_matrix(path)
    n = len(matrix.labels)
    assert len(set(matrix.labels)) == n and matrix.values.shape == (n, n), "labels"
    try:
        check_symmetric(matrix)
        check_dissimilarities(matrix)
    except ValueError as error:  # the program names the file
        raise ValueError(f"{path}: {error}") from None
    return {"values": matrix.values}


def read_elsewhere(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = read_predictions(path, ["a", "b"])  # infinite ones count as none: see `from_rows`
    return {name: np.where(np.isfinite(points), points, np.nan) for name, points in found.items()}


def read_training_shapes(path: pathlib.Path) -> dict[str, np.ndarray]:
    points, names, is_test = shapes._read(path)
    assert len(points) == len(names) == len(is_test) and np.isfinite(points).all(), "points"
    return {"points": points}


def read_mesh(path: pathlib.Path) -> dict[str, np.ndarray]:
    return meshes.read(path)._asdict()


def read_pickle(path: pathlib.Path) -> dict[str, np.ndarray]:
    return _raw(pickles.read_arrays(path))


def read_matlab(path: pathlib.Path) -> dict[str, np.ndarray]:
    return _raw(matlab.read_mat(path, ["points"]))


def _raw(arrays):
    """Of a reader that gives what is there; its callers look whether it is finite."""
    return {name: np.nan_to_num(array) for name, array in arrays.items()}


def read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(load_params(path)))
    return {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in leaves}


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True, name="norm1")(nn.Dense(3, name="dense1")(x))


def read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = read_keras_network(path, Layer(), (4,), number_layers)
    return {jax.tree_util.keystr(key): np.asarray(leaf)
            for key, leaf in jax.tree_util.tree_leaves_with_path(found)}


def read_model(path: pathlib.Path) -> dict[str, np.ndarray]:
    names = [f"norm/norm/{name}:0" for name in ("gamma", "moving_mean")]
    try:
        return _raw(hdf5.load_hdf5(path, [*names, "dense/dense/kernel:0"]))
    except ValueError as error:  # the source names the file
        raise ValueError(f"{path}: {error}") from None


def read_topology(path: pathlib.Path) -> dict[str, np.ndarray]:
    known = set(topologies.TOPOLOGIES)
    try:
        topology = topologies.get(path)
    finally:
        for name in set(topologies.TOPOLOGIES) - known:
            del topologies.TOPOLOGIES[name]
    return {"edges": np.array(topology.edges), "mirror": np.array(topology.mirror or ())}


def read_spec(path: pathlib.Path) -> dict[str, np.ndarray]:
    return {"shares": np.array([view.share for view in specs.load_spec(path).views])}


def read_checkpoint(path: pathlib.Path) -> dict[str, np.ndarray]:
    trained, beside = read_stages(path, ["pairs"])
    return {"w": np.asarray(trained["pairs"]["w"]), "mean": np.asarray(beside["mean"]),
            "seed": np.array(read_run(path)["seed"])}


class NoLift:
    """In the place of the lifting of blocks: notes what it gets."""

    block_rows, num_threads = 64, 1

    def __init__(self):
        self.given = []

    def __call__(self, x2d, visible):
        assert np.isfinite(x2d).all() and x2d.shape[1:] == (N, 2), "landmarks"
        self.given.append(x2d)
        status = np.full(len(x2d), Status.CONVERGED)
        return {"points": np.zeros((len(x2d), N, 3)), "rotation": np.zeros((len(x2d), 3, 3)),
                **dict.fromkeys(("yaw", "pitch", "roll"), np.zeros(len(x2d))), "status": status}


def read_parquet(path: pathlib.Path) -> dict[str, np.ndarray]:
    lift = NoLift()
    with tempfile.TemporaryDirectory() as out:
        engine = functools.partial(run_parts, lift)
        done = reconstruct_files([path], out, _flame51(), engine=engine, progress=False)
    if done.left_out:
        raise ValueError(done.left_out[0])
    return {str(i): x2d for i, x2d in enumerate(lift.given)}


@functools.cache
def _flame51():
    return load_pretrained("flame51")


def _rows(*lines, delimiter=","):
    return "\n".join(delimiter.join(map(str, line)) for line in lines) + "\n"


def _xy(points):
    return [{"x": x, "y": y} for x, y in points.tolist()]


def _landmark_texts() -> dict[str, tuple[str, str]]:
    """Kind -> name of the file and content."""
    wide = [f"{axis}{i}" for i in range(N) for axis in "xy"]
    lines = [[i, *point] for i, point in enumerate(FACE)]
    openface = ["frame", "face_id", "timestamp", "confidence", "success",
                *(f"{axis}_{i}" for axis in "xy" for i in range(N))]
    points = _rows(*FACE, delimiter=" ")
    parts = "".join(f"<part name='{i:02}' x='{x}' y='{y}'/>\n" for i, x, y in lines)
    fcsv = "# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n"
    control = [{"label": f"F-{i}", "position": [x, y, 7.5]} for i, x, y in lines]
    slicer = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control}
    ljson = {"landmarks": {"points": FACE[:, ::-1].tolist()}}
    several = {"faces": [{"landmarks": (FACE + i).tolist(), "confidence": 0.9} for i in range(3)]}
    flat = [x for point in FACE.tolist() for x in (*point, 2)]
    coco = {"images": [{"id": 7, "file_name": "a.jpg"}],
            "annotations": [{"id": 1, "image_id": 7, "num_keypoints": N, "keypoints": flat}]}
    openpose = {"people": [{"face_keypoints_2d": [0.9 if x == 2 else x for x in flat]}]}
    labelme = {"imagePath": "a.jpg", "shapes": [
        {"label": str(i), "shape_type": "point", "points": [[x, y]]} for i, x, y in lines]}
    return {
        ".pts": ("a.pts", f"version: 1\nn_points: {N}\n{{\n{points}}}\n"),
        ".txt, x y": ("a.txt", points),
        ".txt, comments": ("a.txt", "# of a tool\n" + points.replace("\n", " # first\n", 1)),
        ".txt, faces": ("a.txt", _rows(*[(FACE + i).ravel() for i in range(3)], delimiter=" ")),
        ".tps": ("a.tps", f"LM={N}\n{points}IMAGE=a.jpg\nID=0\nSCALE=0.1\n"),
        ".fcsv": ("a.fcsv", fcsv + _rows(*[[i, x, y, 0, f"F-{i}"] for i, x, y in lines])),
        ".csv, x y": ("a.csv", _rows(["x", "y"], *FACE)),
        ".csv, no header": ("a.csv", _rows(*FACE)),
        ".csv, no header, numbered": ("a.csv", _rows(*lines[::-1])),
        ".csv, no header, confidence": ("a.csv", _rows(*[[*p, 0.9] for p in FACE])),
        ".csv, numbered": ("a.csv", _rows(["landmark", "x", "y"], *lines[::-1])),
        ".csv, confidence": ("a.csv", _rows(["x", "y", "confidence"], *[[*p, 0.9] for p in FACE])),
        ".csv, wide": ("a.csv", _rows(["image", *wide], *[
            [f"{i}.jpg", *(FACE + i).ravel()] for i in range(3)])),
        ".csv, OpenFace": ("a.csv", _rows(openface, *[
            [i, 0, i / 25, 0.9, 1, *(FACE + i).T.ravel()] for i in range(3)])),
        ".tsv": ("a.tsv", _rows(["x", "y"], *FACE, delimiter="\t")),
        ".json, list": ("a.json", json.dumps(FACE.tolist())),
        ".json, faces": ("a.json", json.dumps(several, indent=1)),
        ".json, x and y": ("a.json", json.dumps([{"faceLandmarks": [_xy(FACE)]}] * 2)),
        ".json, Slicer": ("a.mrk.json", json.dumps({"markups": [slicer]})),
        ".json, COCO": ("a.json", json.dumps(coco)),
        ".json, OpenPose": ("a_keypoints.json", json.dumps(openpose)),
        ".json, LabelMe": ("a.json", json.dumps(labelme, indent=1)),
        ".ljson": ("a.ljson", json.dumps({"version": 3, "groups": {"LJSON": ljson}})),
        ".xml": ("a.xml", f"<?xml version='1.0'?>\n<dataset><images><image file='a.jpg'><box>\n"
                          f"{parts}</box></image></images></dataset>"),
    }


def _tables() -> dict[str, tuple[str, str]]:
    n, names = 9, "abcdefghi"
    values = np.linalg.norm(FACE[:n, None] - FACE[None, :n], axis=-1).round(3)
    lower = [[names[i], *values[i, : i + 1]] for i in range(n)]
    printed = [[names[i], *values[i, :i]] for i in range(1, n)]
    return {
        ".csv, named": ("d.csv", _rows(["", *names],
                                       *[[a, *row] for a, row in zip(names, values, strict=True)])),
        ".txt, plain": ("d.txt", _rows(*values, delimiter=" ")),
        ".tsv, triangle": ("d.tsv", _rows(*lower, delimiter="\t")),
        ".csv, pairs": ("d.csv", _rows(["a", "b", "distance"], *[
            [names[i], names[j], values[i, j]] for i in range(n) for j in range(i)])),
        ".phy, PHYLIP": ("d.phy", _rows([n], *[[a, *row] for a, row in zip(
            names, values, strict=True)], delimiter=" ")),
        ".txt, printed by R": ("d.txt", _rows([" ", *names[:-1]], *printed, delimiter=" ")),
        ".csv, all pairs in a column": ("d.csv", _rows(*values[np.tril_indices(n, -1)][:, None])),
    }


def _meshes() -> dict[str, tuple[str, str]]:
    triangles = np.arange(N // 3 * 3).reshape(-1, 3)
    obj = _rows(*[["v", *p] for p in SHAPE], *[["f", *t] for t in triangles + 1], delimiter=" ")
    ply = (f"ply\nformat ascii 1.0\nelement vertex {N}\nproperty float x\nproperty float y\n"
           f"property float z\nelement face {len(triangles)}\n"
           "property list uchar int vertex_indices\nend_header\n")
    ply += _rows(*SHAPE, *[[3, *t] for t in triangles], delimiter=" ")
    return {".obj": ("m.obj", obj), ".ply, text": ("m.ply", ply)}


def _binary(write: Callable, *arguments, **arrays) -> bytes:
    stream = io.BytesIO()
    write(stream, *arguments, **arrays)
    return stream.getvalue()


def _mat(**arrays):
    return _binary(scipy.io.savemat, arrays, do_compression=False)


def _written(name: str, write: Callable[[pathlib.Path], object]) -> dict[str, bytes]:
    """What a function writes to a path, a file or a folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write(root / name)
        return {path.relative_to(root).as_posix(): path.read_bytes()
                for path in sorted(root.rglob("*")) if path.is_file()}


def _save_keras(path):
    rng = np.random.default_rng(1)
    layers = {"dense": {"kernel": (4, 3), "bias": (3,)}, "norm": dict.fromkeys(
        ("gamma", "beta", "moving_mean", "moving_variance"), (3,))}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, weights in layers.items():
            for weight, shape in weights.items():
                file[f"{layer}/{layer}/{weight}:0"] = rng.normal(size=shape).astype(np.float32)


def _save_checkpoint(path):
    run = {"seed": 0, "topology": "flame51"}
    checkpoints = Checkpoints(path, run, {"mean": np.arange(5.0, dtype=np.float32)})
    state = {"variables": {"w": np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)}}
    for step in (1, 2):
        checkpoints.save("pairs", step, state)
    checkpoints.close()


def _save_parquet(path, wide):
    rows = np.stack([FACE + i for i in range(20)]).reshape(20, -1).astype(np.float32)
    columns = {f"{axis}{i}": rows[:, 2 * i + k] for i in range(N) for k, axis in enumerate("xy")}
    lists = {"name": [f"face {i}" for i in range(20)], "landmarks": rows.tolist()}
    pq.write_table(pa.table(columns if wide else lists), path, row_group_size=7)


def _kinds_of_binary() -> dict[str, tuple[str, bytes, Reader]]:
    square = np.linalg.norm(FACE[:9, None] - FACE[None, :9], axis=-1)
    faces, solids = np.stack([FACE, FACE + 1]), np.stack([SHAPE, SHAPE + 1])
    ply = _written("m.ply", lambda path: meshes.write(
        path, meshes.Mesh(SHAPE, np.arange(N // 3 * 3).reshape(-1, 3))))["m.ply"]
    return {
        "landmarks .npy": ("a.npy", _binary(np.save, faces), read_faces),
        "landmarks .npz": ("a.npz", _binary(np.savez, landmarks=faces, names=["a", "b"],
                                            confidence=[0.9, 0.8]), read_faces),
        "landmarks .mat": ("a.mat", _mat(landmarks=faces), read_faces),
        "landmarks .mat, compressed": ("a.mat", _binary(
            scipy.io.savemat, {"pt2d": FACE.T}, do_compression=True), read_faces),
        "table .npy": ("d.npy", _binary(np.save, square), read_dissimilarities),
        "table .npy, pairs": ("d.npy", _binary(np.save, square[np.triu_indices(9, 1)].astype("f4")),
                              read_dissimilarities),
        "table .npz": ("d.npz", _binary(np.savez_compressed, d=square, labels=[*"abcdefghi"]),
                       read_dissimilarities),
        "predictions .npz": ("p.npz", _binary(np.savez, points=solids, names=["a", "b"]),
                             read_elsewhere),
        "predictions .mat": ("p.mat", _mat(points=solids), read_elsewhere),
        "shapes to train on .npz": ("s.npz", _binary(np.savez, points=solids, subject=[1, 2]),
                                    read_training_shapes),
        "array .mat": ("m.mat", _mat(points=SHAPE), read_matlab),
        "mesh .ply, binary": ("m.ply", ply, read_mesh),
        "pickle": ("p.pkl", pickle.dumps({"v": SHAPE, "f": np.arange(9)}), read_pickle),
        "weights .h5": ("k.h5", _written("k.h5", _save_keras)["k.h5"], read_keras),
        "model .h5": ("k.h5", _written("k.h5", _save_keras)["k.h5"], read_model),
        "Parquet, lists": ("a.parquet", _written(
            "a.parquet", functools.partial(_save_parquet, wide=False))["a.parquet"], read_parquet),
        "Parquet, numbers": ("a.parquet", _written(
            "a.parquet", functools.partial(_save_parquet, wide=True))["a.parquet"], read_parquet),
        "weights .safetensors": ("w.safetensors",
                                 locate.locate("flame51").path.read_bytes(), read_weights),
    }


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every kind of file by name."""
    topology = topologies.get("flame51")
    texts = {f"landmarks {name}": (*text, read_faces) for name, text in _landmark_texts().items()}
    texts |= {f"table {name}": (*text, read_dissimilarities) for name, text in _tables().items()}
    texts |= {f"mesh {name}": (*text, read_mesh) for name, text in _meshes().items()}
    for suffix in (".csv", ".json"):
        written = _written(f"p{suffix}", lambda path: write_shapes(
            path, {"a": {"points": SHAPE}, "b": {"points": SHAPE + 1}}, topology))
        texts[f"predictions {suffix}"] = (f"p{suffix}", written[f"p{suffix}"].decode(),
                                          read_elsewhere)
    texts["shapes to train on .csv"] = ("s.csv", _rows(["face", "x", "y", "z"], *[
        [name, *point] for name in "ab" for point in SHAPE]), read_training_shapes)
    texts["topology .toml"] = ("t.toml", 'name = "own"\nlandmarks = ["a", "b", "c", "1"]\n'
                               'mirror = [["a", "b"]]\nedges = [["a", "c"], ["b", "c"]]\n',
                               read_topology)
    texts["spec .toml"] = ("s.toml", (specs._folder() / "ict_robust.toml").read_text(), read_spec)
    found = {name: Kind({file: text.encode()}, file, read, is_text=True)
             for name, (file, text, read) in texts.items()}
    found |= {name: Kind({file: content}, file, read)
              for name, (file, content, read) in _kinds_of_binary().items()}
    found["checkpoint"] = Kind(_written("run", _save_checkpoint), "run", read_checkpoint,
                               is_exact=True)
    return found
