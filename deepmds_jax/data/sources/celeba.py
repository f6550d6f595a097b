"""CelebA photographs with the Basel Face Model fitted to them: the paper's Table 3.

Liu, Luo, Wang & Tang (2015), "Deep learning face attributes in the wild", ICCV. Licensed for
non-commercial research. The landmarks and the coefficients are not part of it.
"""

import contextlib
import pathlib

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.archives import unpack_numpy
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.formats.matlab import load_mat
from deepmds_jax.data.photos.annotated import LandmarkFiles, Photograph, gather
from deepmds_jax.data.photos.reading import check_image
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.sources import bfm
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("bfm72", "ibug68", "flame51")
# Fields of coefficient files, and how many of their first numbers are identity; None: all.
_FIELDS = {"alpha": None, "id": None, "coeff": 80}
_IMAGES = (".jpg", ".jpeg", ".png")
_NUM_MODES = 199  # of the Basel Face Model 2009
_MAX_DISTANCE = 0.3  # from CelebA's own five points, in distances between the eyes


def load(topology: str, folder: pathlib.Path) -> Recordings:
    """Loads landmarks in pixels, and as truth the fitted neutral faces, head frame, millimetres.

    The true shape is mean + sum_k a_k identity_k with the a_k of the face's file. Expression,
    texture and pose in that file are not used: expression bases differ between fits, and the truth
    of the paper is the identity of the Basel Face Model 2009. A face with a damaged or missing
    file, or whose landmarks do not lie on CelebA's face, is left out with a warning.

    Args:
      topology: "bfm72", "ibug68", or "flame51", its points 17-67; see `bfm.load`.
      folder: holds

        * `bfm/`: the Basel Face Model 2009, see `bfm.load`;
        * `coefficients/NAME.mat`, `.npz` or `.npy`: coefficients of the identity modes in standard
          deviations; where there are fewer than the model's 199, the others are zero. In .mat and
          .npz a field `alpha` (K numbers), `id` (K; Deep3DFaceRecon_pytorch writes 80) or `coeff`
          (257, of which the first 80 are identity; Deep3DFaceReconstruction); in .npy the numbers;
        * `landmarks/NAME.*`: the landmarks of one face in pixels, in a format of
          `landmark_files.read_landmarks`: as many as the topology has, or 68 for flame51;
        * `images/NAME.jpg`: the photographs, of img_celeba, img_align_celeba or CelebA-HQ;
        * optionally the `list_landmarks_*.txt` of CelebA that belongs to these images: the eyes,
          nose tip and mouth corners of the landmarks must lie near its five points.

    Raises:
      ValueError: another topology, a damaged model or list, or none of the faces can be read.
      FileNotFoundError: a file of the model is missing, or there are no coefficients; names it.
    """
    check_topology("celeba", topology, TOPOLOGIES)
    model = bfm.load(topology, folder / "bfm")
    mean, identity = np.asarray(model.mean), np.asarray(model.identity)
    files = _Folder(folder)

    def read(name):
        coefficients = files.coefficients(name, len(identity))
        points = mean + np.einsum("k,knd->nd", coefficients, identity)
        return Photograph(files.landmarks(name, topology), points, files.image(name))

    return gather("celeba", sorted(files.coefficient_files), read, topology)


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; reads every photograph.

    The first landmark file decides which topology the model and all landmark files must have.
    """
    try:
        files = _Folder(folder)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    topology = files.first_topology()
    found = problems([topology], lambda name: bfm.load(name, folder / "bfm"))

    def read(name):
        files.coefficients(name, _NUM_MODES)
        files.landmarks(name, topology)
        check_image(files.image(name) or folder / "images" / f"{name}.jpg")

    return found + problems(sorted(files.coefficient_files), read)


class _Folder:
    """Where the files of each face are."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.coefficient_files = {
            path.stem: path
            for suffix in (".npy", ".npz", ".mat")
            for path in (folder / "coefficients").glob(f"[!.]*{suffix}")
        }
        if not self.coefficient_files:
            raise FileNotFoundError(f"no {folder / 'coefficients' / 'NAME.mat'}, .npz or .npy")
        self._landmarks = LandmarkFiles.find(folder)
        self._five = _read_five_points(folder)

    def image(self, name: str) -> pathlib.Path | None:
        paths = (self.folder / "images" / f"{name}{suffix}" for suffix in _IMAGES)
        return next((path for path in paths if path.exists()), None)

    def landmarks(self, name: str, topology: str) -> np.ndarray:
        x2d = self._landmarks.read(name, topology)
        if name in self._five:
            five = self._five[name]
            off = np.linalg.norm(_five_of(x2d, topology) - five, axis=1).mean()
            eyes = np.linalg.norm(five[0] - five[1])
            if not off <= _MAX_DISTANCE * eyes:
                raise ValueError(f"{self._landmarks.paths[name]}: {off:.0f} pixels from the five "
                                 f"points of CelebA, whose eyes are {eyes:.0f} apart: another "
                                 "face?")
        return x2d

    def first_topology(self) -> str:
        """The topology of the first landmark file that can be read."""
        numbers = {topologies.get(name).num_landmarks: name for name in TOPOLOGIES}
        for path in self._landmarks.paths.values():
            with contextlib.suppress(ValueError, KeyError):
                return numbers[len(next(iter(read_landmarks(path).values())))]
        return TOPOLOGIES[0]

    def coefficients(self, name: str, num_modes: int) -> np.ndarray:
        path = self.coefficient_files[name]
        numbers = _read_coefficients(path)
        if not 0 < numbers.size <= num_modes or not np.isfinite(numbers).all():
            raise ValueError(f"{path}: expected 1 to {num_modes} finite coefficients, got "
                             f"{numbers.size}, {np.sum(~np.isfinite(numbers))} not finite")
        return np.pad(numbers, (0, num_modes - numbers.size))


def _read_coefficients(path: pathlib.Path) -> np.ndarray:
    try:
        if path.suffix == ".mat":
            content = load_mat(path, list(_FIELDS))
        else:
            with path.open("rb") as stream:
                content = unpack_numpy(stream)
                if isinstance(content, np.ndarray):
                    return content.astype(np.float64).ravel()
                content = {field: content[field] for field in _FIELDS if field in content}
        field = next(field for field in _FIELDS if field in content)
        return content[field].astype(np.float64).ravel()[: _FIELDS[field]]
    except ImportError:
        raise
    except StopIteration:
        raise ValueError(f"{path}: expected one of the fields {list(_FIELDS)}") from None
    except Exception as error:  # every parser fails on damaged files in ways of its own
        raise ValueError(f"{path}: expected a file of numbers: {error}") from error


def _read_five_points(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """By image name: (5, 2) eyes, nose tip, mouth corners, left in the image first; or nothing."""
    paths = sorted(folder.glob("list_landmarks*.txt"))
    if len(paths) > 1:
        raise ValueError(f"{folder}: expected the one list_landmarks_*.txt that belongs to "
                         f"images/, got {[path.name for path in paths]}")
    if not paths:
        return {}
    try:
        count, _, *rows = paths[0].read_text(encoding="utf-8").splitlines()
        cells = [row.split() for row in rows if row.strip()]
        points = np.array([row[1:] for row in cells], np.float64).reshape(len(cells), 5, 2)
        if len(cells) != int(count):
            raise ValueError(f"{len(cells)} rows where the first line says {int(count)}")
    except ValueError as error:
        raise ValueError(f"{paths[0]}: not a whole list of CelebA: {error}") from error
    return {pathlib.Path(row[0]).stem: face for row, face in zip(cells, points, strict=True)}


def _five_of(x2d: np.ndarray, topology: str) -> np.ndarray:
    """The five points (5, 2) of CelebA, from landmarks (N, 2)."""
    names = topologies.get(topology).landmarks
    corners = [[f"exocanthion_{side}", f"endocanthion_{side}"] for side in ("right", "left")]
    groups = [*corners, ["pronasale"], ["cheilion_right"], ["cheilion_left"]]
    return np.stack([x2d[[names.index(name) for name in group]].mean(axis=0) for group in groups])
