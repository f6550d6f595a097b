"""MediaPipe's older Face Mesh, which `detection` runs in an environment that has it.

  python -I face_mesh_script.py FOLDER MAX_FACES

FOLDER holds photographs 0.npy, 1.npy, ..., (height, width, 3) uint8 RGB. Writes FOLDER/faces.npz
with an entry for each, under its number: the faces (F, 478, 3) as MediaPipe gives them, x and z
divided by the width and y by the height; or one line of text where it failed. Uses nothing of this
package, nor of its environment.
"""

import pathlib
import sys


def main(folder: pathlib.Path, max_faces: int) -> None:
    """Finds the faces in the photographs of a folder."""
    import mediapipe  # pyright: ignore[reportMissingImports]: only in the other environment
    import numpy as np

    found = {}
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=max_faces, refine_landmarks=True
    ) as mesh:
        for path in folder.glob("[0-9]*.npy"):
            try:
                pixels = np.load(path, allow_pickle=False)
                faces = mesh.process(pixels).multi_face_landmarks or []
            except Exception as error:  # MediaPipe raises many kinds
                found[path.stem] = np.array((str(error) or type(error).__name__).splitlines()[0])
                continue
            points = [[(p.x, p.y, p.z) for p in face.landmark] for face in faces]
            found[path.stem] = np.array(points, np.float64)
    np.savez(folder / "faces.npz", **found)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
