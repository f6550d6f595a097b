"""The page in the browser: what it shows and saves agrees with JAX, and nothing leaves it."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import urllib.parse

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.formats.shape_files import write_shapes
from deepmds_jax.data.photos import mesh_landmarks
from deepmds_jax.geometry import angles_from_rotation

ROOT = pathlib.Path(__file__).resolve().parents[1]
WEB, DIST = ROOT / "web", ROOT / "web" / "dist"
NODE = shutil.which("node")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
NOTHING = "\N{EN DASH}"  # where a number would be
TOPOLOGIES = {name: topologies.get(name) for name in ("ibug68", "flame51")}


# --- its modules, without a browser

CALL = """
const [folder, calls] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const answers = [];
for (const [module, name, ...args] of calls) {
  try {
    answers.push((await import(`file://${folder}/${module}.js`))[name](...args));
  } catch (error) {
    answers.push({error: error.message});
  }
}
console.log(JSON.stringify(answers));
"""


@pytest.fixture
def call(tmp_path):
    """Calls functions of the page's modules: [module, function, argument, ...] each."""
    if NODE is None:
        pytest.skip("no node on the path")
    for file in (WEB / "page").glob("*.js"):
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    script = f"(async () => {{{CALL}}})()"

    def run(*calls):
        done = subprocess.run([NODE, "-e", script], input=json.dumps([str(tmp_path), calls]),
                              capture_output=True, text=True, timeout=30, check=True)
        return json.loads(done.stdout)

    return run


def known_topologies():
    return {name: {"landmarks": t.landmarks, "edges": t.edges} for name, t in TOPOLOGIES.items()}


def test_landmarks_of_the_mesh_are_those_of_python(call):
    mesh = np.random.default_rng(0).normal(size=(468, 3))
    places = {"inner": mesh_landmarks.FLAME51_POINTS.tolist(),
              "right_jaw": mesh_landmarks.RIGHT_JAW, "left_jaw": mesh_landmarks.LEFT_JAW}
    found = call(*[["landmarks", "toLandmarks", mesh.tolist(), places, n] for n in (51, 68)])
    for points, name in zip(found, ("flame51", "ibug68"), strict=True):
        np.testing.assert_allclose(points, mesh_landmarks.to_landmarks(mesh, name), atol=1e-12)


def test_texts_of_landmarks(call):
    points = np.random.default_rng(1).uniform(-50, 50, (68, 2)).round(3)
    points[3] = points[4] = 5  # equal ones are no error
    hidden = [None if i == 7 else p for i, p in enumerate(points.tolist())]

    def lines(separator, first=(), **others):
        texts = [separator.join(map(str, p)) for p in points]
        for i, text in others.items():
            texts[int(i[1:])] = text
        return "\n".join([*first, *texts])

    right = {
        lines(" "): points.tolist(),
        "\ufeff" + lines(" , ", ["x,y"]).replace("\n", "\r\n") + "\n\n": points.tolist(),
        lines(";").replace(".", ","): points.tolist(),
        lines("\t", ["# by hand"], l7="nan\tNaN"): hidden,
        lines(",", l7=","): hidden,
        json.dumps(hidden): hidden,
        json.dumps({"landmarks": points.tolist()}): points.tolist(),
        json.dumps([{"x": x, "y": y} for x, y in points.tolist()]): points.tolist(),
        lines(" ", ["version: 1", "n_points: 68", "{"]) + "\n}": (points - 1).tolist(),
    }
    wrong = {
        " \n": "there is no text",
        lines(" ", l3="1 2 3"): 'line 4: expected x and y, got "1 2 3"',
        lines(" ", l3="1 two"): 'line 4: expected x and y, got "1 two"',
        lines(" ", l3="1 Infinity"): "line 4: expected finite numbers",
        "\n".join(["1 2"] * 68): "all landmarks are equal",
        "\n".join(["1 2", "3 4"] * 30): "got 60 landmarks, expected 68 or 51",
        "\n".join(["1 2", "3 4"] + ["nan nan"] * 66): "2 landmarks are visible, expected at least "
                                                      "6",
        "[[1, 2": "no JSON",
        '{"points3d": []}': 'expected a list of [x, y], or {"landmarks": [...]}',
        "[[1, 2], 3]": "landmark 1: expected [x, y], got 3",
        '[[1, "2"]]': 'landmark 0: expected [x, y], got [1,"2"]',
    }
    known = known_topologies()
    answers = call(*[["landmarks", "parseLandmarks", text, known] for text in [*right, *wrong]])
    for answer, expected in zip(answers, right.values(), strict=False):
        assert answer["topology"] == "ibug68"
        for mine, theirs in zip(answer["points"], expected, strict=True):
            assert mine == pytest.approx(theirs)
    for answer, expected in zip(answers[len(right):], wrong.values(), strict=True):
        assert answer["error"].startswith(expected)


def test_saved_files_are_those_of_python(call, tmp_path):
    rng = np.random.default_rng(2)
    topology = TOPOLOGIES["flame51"]
    face = {"points": rng.normal(size=(51, 3)).astype(np.float32)}
    face["points"][0] = 0, 1e-7, 100000
    rest = {key: rng.normal(size=shape).astype(np.float32).tolist()
            for key, shape in (("std", (51, 3)), ("rotation", (3, 3)), ("angle_std", 3))}
    given = {"topology": "flame51", "points": face["points"].tolist(), **rest, "converged": True,
             "x2d": [None, *np.ones((50, 2)).tolist()], "visible": [False] + [True] * 50,
             "yaw": 1.5, "pitch": -2, "roll": 0}
    known = known_topologies()["flame51"]
    obj, text = call(*[["files", name, "a b", given, known] for name in ("toObj", "toJson")])
    write_shapes(tmp_path / "a.obj", {"a b": face}, topology)
    mine, theirs = (t.split("\n") for t in (obj, (tmp_path / "a.obj").read_text()))
    numbers = [[line.split()[1:] for line in t if line.startswith("v ")] for t in (mine, theirs)]
    np.testing.assert_array_equal(*np.array(numbers, np.float32))
    assert [x for x in mine if x[:2] != "v "] == [x for x in theirs if x[:2] != "v "]
    write_shapes(tmp_path / "a.json", {"a b": face}, topology)
    mine, theirs = json.loads(text), json.loads((tmp_path / "a.json").read_text())
    mine["faces"]["a b"], rest = ({"points": mine["faces"]["a b"].pop("points")},
                                  mine["faces"]["a b"])
    assert mine == theirs
    assert rest["x2d"][0] == [None, None] and rest["converged"] is True and rest["pitch"] == -2


# --- the page in a browser


def make_inputs(folder):
    """What the browser is given."""
    image = pytest.importorskip("PIL.Image", reason="the pictures extra is not installed")
    for name in ("hopper.jpg", "collins.jpg", "collins.pts"):
        shutil.copy(ROOT / "examples" / name, folder)
    photographs = [image.open(folder / name) for name in ("collins.jpg", "hopper.jpg")]
    both = image.new("RGB", (640, 368), "grey")
    for i, photograph in enumerate(photographs):
        both.paste(photograph, (320 * i, 0))
    both.resize((1920, 1104)).save(folder / "two.png")  # larger than the page works with
    slope = np.add.outer(np.arange(240), np.arange(320)) % 255
    image.fromarray(slope.astype(np.uint8)).save(folder / "blank.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "camera.mjpeg").write_bytes((folder / "hopper.jpg").read_bytes() * 3)
    points = read_landmarks(ROOT / "examples" / "hopper.json")["hopper"].points
    half = points.astype(str)
    half[:17] = "nan"
    views = {"placed": points, "mirrored": points * [-1, 1], "upward": points * [1, -1],
             "exchanged": points[:, ::-1], "scattered": points[np.argsort(np.sin(np.arange(68)))],
             "far": points[17:] + 1e7, "hidden": half, "few": points[:67]}
    texts = {name: "\n".join(f"{x} {y}" for x, y in p) for name, p in views.items()}
    (folder / "texts.json").write_text(json.dumps(texts))


@contextlib.contextmanager
def serve(folder):
    """The address of a file server that knows nothing but files."""
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def drive(address, folder):
    """What web/test/drive.mjs has seen."""
    command = [NODE, WEB / "test" / "drive.mjs", CHROMIUM, address, folder]
    out, log = folder / "seen.json", folder / "log.txt"
    with open(out, "wb") as output, open(log, "wb") as errors:
        driver = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True,
                                  env=os.environ | {"TMPDIR": str(folder)})
        try:
            code = driver.wait(timeout=150)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)  # the browser too; the session is its own
            driver.wait()
    assert code == 0, log.read_text()[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """What a browser has seen of the page, and the folder of what it was given and has saved."""
    if NODE is None or CHROMIUM is None:
        pytest.skip("no node or no browser on the path")
    if not DIST.is_dir() or not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("web/dist was not built: web/build")
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("browsed")
    shutil.copytree(DIST, site, dirs_exist_ok=True)
    shutil.copytree(WEB / "page", site, dirs_exist_ok=True)  # as it is now
    make_inputs(folder)
    with serve(site) as address:
        seen = drive(address, folder)
    return {**seen, "address": address}, folder


@functools.cache
def lifted(topology):
    """The function that JAX compiles, for the weights of a topology."""
    params = dm.load_pretrained(topology)
    return jax.jit(lambda x2d, visible: dm.reconstruct_detailed(params, x2d, visible))


def saved(folder, name):
    """The topology and the face of a .json that the page saved."""
    content = json.loads((folder / f"{name}.json").read_text())
    (face,) = content["faces"].values()
    return content["topology"], {key: np.array(value, np.float64 if key == "x2d" else None)
                                 for key, value in face.items()}


SAVED = ("hopper", "collins", "second", "dropped", "flat", "camera",
         *(f"pasted_{name}" for name in ("placed", "mirrored", "upward", "exchanged", "scattered",
                                         "far", "hidden")))


@pytest.mark.parametrize("name", SAVED)
def test_saved_faces_agree_with_jax(browsed, name):
    _, folder = browsed
    topology, face = saved(folder, name)
    visible = face["visible"]
    near = np.where(visible[:, None], face["x2d"] - np.nanmean(face["x2d"], axis=0), 0)
    expected = lifted(topology)(near.astype(np.float32), visible)
    assert face["converged"] == expected.converged
    assert face["converged"] == (name.partition("_")[2] not in (
        "mirrored", "upward", "exchanged", "scattered"))
    if face["converged"]:
        for key in ("points", "std", "rotation"):
            np.testing.assert_allclose(face[key], getattr(expected, key), atol=1e-4)
        np.testing.assert_allclose(face["angle_std"], expected.angle_std, atol=1e-2)
        for angle, value in zip(("yaw", "pitch", "roll"), angles_from_rotation(expected.rotation),
                                strict=True):
            assert face[angle] == pytest.approx(float(value), abs=0.01)
    file = folder / f"{name}.obj"
    if not file.exists():
        return
    vertices = [line.split()[1:] for line in file.read_text().splitlines() if line[:2] == "v "]
    np.testing.assert_allclose(np.array(vertices, float), face["points"] * [1, -1, -1], rtol=1e-6)


def test_landmarks_of_photographs_are_where_people_put_them(browsed):
    """So the picture is neither mirrored nor upside down, and the mesh is read aright."""
    _, folder = browsed
    examples = ROOT / "examples"
    placed = {"hopper": read_landmarks(examples / "hopper.json")["hopper"].points,
              "collins": read_landmarks(examples / "collins.pts")["collins"].points[17:]}
    for name, points in placed.items():
        _, face = saved(folder, name)
        error = np.linalg.norm(face["x2d"] - points, axis=1).mean()
        eyes = np.linalg.norm(points[-23] - points[-32])  # the outer corners
        assert error < 0.06 * eyes
    assert saved(folder, "dropped")[1]["x2d"] == pytest.approx(
        read_landmarks(examples / "collins.pts")["collins"].points)
    _, second = saved(folder, "second")  # Hopper stands to the right
    inner = 3 * (placed["hopper"][17:] + np.array([320, 0]))
    assert np.linalg.norm(second["x2d"] - inner, axis=1).mean() < 0.06 * 3 * 118


def test_page_says_what_is_wrong(browsed):
    seen, _ = browsed
    assert seen["ready"] == "Ready"
    assert seen["broken"]["message"] == "broken.jpg: no picture that this browser can read"
    assert seen["blank"]["message"] == "blank.png: no face was found"
    assert not seen["blank"]["canSave"] and set(seen["blank"]["numbers"]) == {NOTHING}
    assert seen["camera"]["message"] == "Camera: there is none"
    assert seen["pasted"]["few"]["message"] == "Landmarks: got 67 landmarks, expected 51 or 68"
    wrong = (seen["broken"], seen["blank"], seen["camera"], seen["pasted"]["few"])
    assert all(state["isError"] for state in wrong)
    doubts = {name: state["verdict"] for name, state in seen["pasted"].items() if name != "few"}
    face = "These are not the landmarks of a face seen from the front; "
    assert doubts == {
        "placed": None, "far": None, "hidden": None, "mirrored": f"{face}mirrored?",
        "upward": f"{face}with y upward?", "exchanged": f"{face}with x and y exchanged?",
        "scattered": f"{face}in another order?"}
    assert seen["two"]["message"] == "two.png: 2 faces, landmarks by MediaPipe"


def test_without_webgl_there_are_numbers_and_files(browsed):
    seen, _ = browsed
    assert seen["flatReady"].startswith("Ready for landmarks that you have; no WebGL here")
    assert seen["flat"]["numbers"][:4] == seen["pasted"]["placed"]["numbers"][:4]
    assert seen["flatLines"] == 2 * len(TOPOLOGIES["ibug68"].edges)
    assert seen["flatPhotograph"]["isError"]
    assert {"hopper.obj", "pasted.obj"} <= set(seen["names"])


def test_camera_is_followed_and_let_go(browsed):
    seen, _ = browsed
    assert not seen["filming"]["isError"]
    assert seen["stopped"] == "Camera"
    assert seen["names"][-1] == "camera.json"


def test_nothing_is_asked_of_others_and_nothing_leaves(browsed):
    seen, _ = browsed
    origin = urllib.parse.urlsplit(seen["address"]).netloc
    schemes = {urllib.parse.urlsplit(url).scheme for url in seen["requests"]}
    assert schemes <= {"http", "blob", "data"}
    for url in seen["requests"]:
        parts = urllib.parse.urlsplit(url)
        assert parts.scheme != "http" or parts.netloc == origin
    assert seen["smuggled"] == "kept" and seen["blocked"] == ["connect-src"]
    mine = [e for e in seen["errors"] if "example.org" not in e and "WebGL context" not in e]
    assert mine == []
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for name in ("@mediapipe/face_mesh", "onnxruntime-web", "three"):
        version = lock[f"node_modules/{name}"]["version"]
        (row,) = (row for row in seen["loaded"] if row.startswith(f"{name} {version} "))
        assert "Apache-2.0" in row or "MIT" in row
    assert len(seen["loaded"]) == 5


def test_phones_have_one_column_and_all_has_a_name(browsed):
    seen, _ = browsed
    assert seen["layout"] == {"column": True, "wide": 390, "small": [], "nameless": []}


def test_pictures_are_upright_and_not_mirrored_and_change(browsed):
    """Orange is the person's right side."""
    _, folder = browsed
    image = pytest.importorskip("PIL.Image")

    def places(name):
        pixels = np.asarray(image.open(folder / name).convert("RGB"), int)
        red, green, blue = np.moveaxis(pixels, -1, 0)
        orange = (red > 200) & (red - blue > 120) & (green > 90) & (green < 160)
        azure = (blue > 180) & (blue - red > 110) & (green > 110)
        return [np.argwhere(mask) for mask in (orange, azure)]

    for name in ("front.png", "picture.png"):
        orange, azure = places(name)
        assert orange[:, 1].mean() < azure[:, 1].mean() - 50
        chin = [p[p[:, 0].argmax(), 1] for p in (orange, azure)]  # nearest to each other below
        brows = [p[p[:, 0].argmin(), 1] for p in (orange, azure)]
        assert 0 < chin[1] - chin[0] < 0.5 * (brows[1] - brows[0])
    names = "front", "turned", "side", "bare", "still", "swiped"
    shots = {name: np.asarray(image.open(folder / f"{name}.png"), int) for name in names}
    for one, other in (("front", "turned"), ("turned", "side"), ("side", "bare"),
                       ("still", "swiped")):
        change = np.abs(shots[one] - shots[other]).max(axis=-1) > 20
        assert change.mean() > 0.003, f"{one}, {other}"
