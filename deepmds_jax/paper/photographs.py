"""The photographs of figures 3 and 5, as test faces whose shapes are not known."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.photos.annotated import read_face
from deepmds_jax.data.photos.cut_out import cut_out
from deepmds_jax.data.photos.reading import read_photograph
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.specs import load_spec
from deepmds_jax.data.views import Faces, take_faces
from deepmds_jax.evaluation.setting import Setting

NUM_PHOTOGRAPHS = 4
CELEBA = "photographs of CelebA"
_EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def open_photographs(setting: Setting, topology: str | None) -> tuple[Dataset, list[str]]:
    """The first photographs of CelebA that have landmarks, or those among the examples; and notes.

    Args:
      setting: says where CelebA is: `images/NAME.jpg` and `landmarks/NAME.npy`, or
        `landmarks_TOPOLOGY/NAME.npy` where there are several.
      topology: of the landmarks; None for the one that has as many as the files.

    Raises:
      ValueError: there are none, or with other landmarks.
    """
    folder = setting.folder("celeba")
    images, files = _with_landmarks(folder, topology)
    title, notes = CELEBA, [f"Photographs of {folder}."]
    if not images:
        found = [(path, _landmark_file(path)) for path in sorted(_EXAMPLES.glob("*.jpg"))]
        images = [path for path, file in found if file is not None]
        files = [file for _, file in found if file is not None]
        title = "the two photographs in examples/"
        of = f" of {topology}" if topology else ""
        notes = [f"CelebA is not here: there is no images/NAME.jpg with landmarks/NAME.npy{of} in "
                 f"{folder}. The two example photographs, in the public domain, stand in."]
    if not images:
        raise ValueError(f"no photographs: expected images/NAME.jpg and landmarks/NAME.npy in "
                         f"{folder}, or the examples of the repository in {_EXAMPLES}")
    topology = topology or _topology_of(files)
    x2d = np.stack([read_face(file, topology) for file in files])
    points = np.full((*x2d.shape[:2], 3), np.nan, np.float32)  # not known
    source = Recordings(jnp.asarray(x2d, jnp.float32), jnp.asarray(points),
                        [path.stem for path in images], images, topology, "")
    spec = dataclasses.replace(load_spec("celeba"), name="photographs", title=title)
    return Dataset(spec, source, folder), notes


def as_faces(dataset: Dataset, rows: Sequence[int], pictures: bool) -> Faces:
    """Recorded faces by their row, with the photographs (96, 96) cut out or without.

    Raises:
      ValueError: a photograph is missing or damaged.
    """
    source = dataset.source
    assert isinstance(source, Recordings)
    chosen = np.asarray(rows, np.int32)
    faces = take_faces(Faces(source.x2d, source.points), chosen)._replace(row=jnp.asarray(chosen))
    if not pictures:
        return faces
    paths = [source.images[int(row)] for row in chosen]
    return faces._replace(images=jnp.asarray(cut_out(paths, np.asarray(faces.x2d))))


def read_row(source: Recordings, row: int) -> np.ndarray:
    """The photograph (height, width, 3) uint8 of a recorded face; ValueError if it has none."""
    path = source.images[row]
    if path is None:
        raise ValueError(f"no photograph of {source.names[row]}")
    return read_photograph(path)


def _with_landmarks(
    folder: pathlib.Path, topology: str | None
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The first photographs of a folder with landmarks of that topology, and these; or none.

    Raises:
      ValueError: the first file with landmarks is damaged.
    """
    photographs = sorted(folder.glob("images/*.jp*g"))
    for landmarks in (f"landmarks_{topology}", "landmarks"):
        pairs = [(path, folder / landmarks / f"{path.stem}.npy") for path in photographs]
        pairs = [pair for pair in pairs if pair[1].exists()][:NUM_PHOTOGRAPHS]
        if not pairs:
            continue
        num = len(next(iter(read_landmarks(pairs[0][1]).values())).points)
        wanted = num if topology is None else topologies.get(topology).num_landmarks
        if num == wanted or (topology == "flame51" and num == topologies.IBUG68.num_landmarks):
            return [image for image, _ in pairs], [file for _, file in pairs]
    return [], []


def _topology_of(files: Sequence[pathlib.Path]) -> str:
    numbers = {len(next(iter(read_landmarks(file).values())).points) for file in files}
    known = {topologies.get(name).num_landmarks: name for name in ("ibug68", "flame51", "bfm72")}
    if len(numbers) > 1 or not numbers <= known.keys():
        raise ValueError(f"{files[0].parent}: expected one of {sorted(known)} landmarks for each "
                         f"photograph, got {sorted(numbers)}")
    return known[numbers.pop()]


def _landmark_file(image: pathlib.Path) -> pathlib.Path | None:
    """The landmark file beside a photograph; None if there is none."""
    files = (image.with_suffix(suffix) for suffix in (".pts", ".json"))
    return next((file for file in files if file.exists()), None)
