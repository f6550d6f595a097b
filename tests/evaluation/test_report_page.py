"""The report: what its figures hold, that its texts stay texts, and that a browser shows it."""

import base64
import contextlib
import hashlib
import html
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax import topologies
from deepmds_jax.data.views import Faces, View
from deepmds_jax.evaluation.metrics import Metrics
from deepmds_jax.evaluation.report_page import write_report
from deepmds_jax.topologies import Topology

pytest.importorskip("plotly", reason="the report extra is not installed")
TOPOLOGY = topologies.get("ibug68")
N = TOPOLOGY.num_landmarks
INDEX = {name: i for i, name in enumerate(TOPOLOGY.landmarks)}
LEFT = [i for i, name in enumerate(TOPOLOGY.landmarks) if name.endswith("_left")]
YAW = np.array([-45.0, -45, 0, 3, -2, 40])
EVIL = """<script>document.title = 'evil'</script>"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


def make_shapes(num_faces):
    """Symmetric faces by rules, head frame: sides by name, brows above, chin below, nose ahead."""
    rng = np.random.default_rng(0)
    heights = {"brow": -1.0, "exocanthion": -0.6, "pronasale": 0.0, "cheilion": 0.5, "menton": 1.2}
    points = rng.uniform(-0.2, 0.2, (num_faces, N, 3))
    for name, i in INDEX.items():
        prefix = name.split("_")[0]
        depth = {"pronasale": -1.0, "jaw": 1.0}.get(prefix, 0)
        points[:, i] += [0.8 * (i in LEFT), heights.get(prefix, 0), depth]
        if TOPOLOGY.mirror[i] == i:
            points[:, i, 0] = 0
    for i in LEFT:
        points[:, TOPOLOGY.mirror[i]] = points[:, i] * [-1, 1, 1]
    return points * 40 + 7  # any unit, any origin


def turn(points, yaw):
    """Faces seen with a yaw: to the image's right is positive (x right, y down, z away)."""
    return np.stack([Rotation.from_euler("y", -a, degrees=True).apply(p)
                     for a, p in zip(yaw, points, strict=True)])


def make_metrics(scale, failed=()):
    errors = scale * (0.01 + 0.001 * np.arange(len(YAW))[:, None] + 0.002 * np.arange(N) / N)
    errors[list(failed)] = np.nan
    blank = np.zeros(len(YAW))
    return Metrics(blank, blank, blank, blank, errors.mean(1), blank > 0, errors)


def make_inputs():
    points = make_shapes(len(YAW))
    x2d = turn(points, YAW)[..., :2]
    view = View(*[None] * len(View._fields))._replace(yaw=YAW)
    rng = np.random.default_rng(1)
    noisy = points[:3] + rng.normal(0, 3, (3, N, 3))
    posed = Rotation.from_euler("xyz", [20, 30, 40], degrees=True)
    return {
        "title": "Test", "about": {"data": "six faces"},
        "tables": {"Scores": [{"method": "first", "MSE": 1234.5678, "paper": None},
                              {"method": "second", "MSE": 0.000123, "paper": 2}]},
        "metrics": {"first": make_metrics(1), "second": make_metrics(3, failed=[1])},
        "faces": Faces(x2d, points, view),
        "topology": TOPOLOGY,
        "predictions": {
            "first": np.stack([0.1 * posed.apply(p) + 5 for p in points[:3]]), "second": noisy,
        },
    }


@pytest.fixture
def inputs():
    return make_inputs()


class Tags(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text outside scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.cells = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem is None:
            self.text += data
            if self.tags and self.tags[-1][0] in ("td", "span"):
                self.cells.append(data)

    def count(self, tag):
        return sum(t == tag for t, _ in self.tags)


def figures(page):
    """What is handed to plotly.js, by id."""
    (content,) = re.findall(r"Object\.entries\((\{.*\})\)\)\n", page)
    return json.loads(content)


def write(folder, inputs):
    path = write_report(folder, **inputs)
    assert path == folder / "index.html"
    assert [p.name for p in folder.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


def edges_of(trace):
    """Pairs of neighbouring points of a line with gaps, and single points."""
    points = list(zip(*(trace[a] for a in "xyz" if a in trace), strict=True))
    drawn = [points[i : i + 2] for i in range(len(points) - 1) if None not in
             (points[i][0], points[i + 1][0])]
    return np.array(drawn, float)


def test_error_by_yaw(inputs, tmp_path):
    first, second = figures(write(tmp_path, inputs))["yaw"]["data"]
    # By hand: errors of face f are 1 + 0.1 f + the mean of 0.2 i / N in %. Faces 0 and 1 are at
    # -45 degrees, 2 to 4 near 0, 5 in the bin of 45.
    base = 1 + 0.2 * (N - 1) / (2 * N)
    np.testing.assert_allclose(first["y"], [base + 0.05, base + 0.3, base + 0.5], atol=1e-4)
    spread = first["error_y"]["array"]
    np.testing.assert_allclose(spread, [0.05, 0.1 * np.sqrt(2 / 3), 0], atol=1e-4)
    assert first["text"] == ["2 faces", "3 faces", "1 faces"]
    assert second["text"][0] == "1 faces"  # the other one has no result
    assert second["y"][0] == pytest.approx(3 * base, abs=1e-4)
    middle = (np.array(first["x"]) + second["x"]) / 2
    np.testing.assert_allclose(middle, [-45, 0, 45], atol=1e-4)
    assert first["line"]["color"] != second["line"]["color"]


@pytest.mark.parametrize("posed", [False, True], ids=["head frame", "as seen"])
def test_yaw_of_photographs_is_measured(inputs, tmp_path, posed):
    faces = inputs["faces"]
    points = turn(faces.points, YAW) if posed else faces.points
    inputs["faces"] = Faces(faces.x2d, points)
    page = figures(write(tmp_path, inputs))
    assert page["yaw"]["data"][0]["text"] == ["2 faces", "3 faces", "1 faces"]
    buttons = page["skeletons"]["layout"]["updatemenus"][0]["buttons"]
    assert [b["label"] for b in buttons] == [
        "Face 1, yaw -45°", "Face 2, yaw -45°", "Face 3, yaw 0°"
    ]


def test_things_without_symmetry_stay_turned_as_they_are(inputs, tmp_path):
    names = tuple(f"point_{i}" for i in range(N))
    inputs["topology"] = Topology("thing", names, None, TOPOLOGY.edges)
    page = write(tmp_path, inputs)
    assert "in % of the size of the shape, on the mean face" in page
    content = figures(page)
    assert content["yaw"]["layout"]["yaxis"]["title"]["text"] == "NME, % of the size of the shape"
    points = inputs["faces"].points
    centred = points - points.mean(1, keepdims=True)
    size = np.sqrt(np.mean(np.sum(centred**2, axis=2), axis=1))[:, None, None]
    _, dots = content["face0"]["data"]
    x = dict(zip(dots["text"], dots["x"], strict=True))
    expected = (centred / size).mean(0)[:, 0]
    np.testing.assert_allclose([x[f"point {i}"] for i in range(N)], expected, atol=1e-3)
    inputs["faces"] = inputs["faces"]._replace(view=None)
    with pytest.raises(ValueError, match="thing has no symmetry, and poses are not known"):
        write_report(tmp_path, **inputs)


def test_error_on_face(inputs, tmp_path):
    page = figures(write(tmp_path, inputs))
    faces = [page["face0"], page["face1"]]
    for face, metrics in zip(faces, inputs["metrics"].values(), strict=True):
        _, dots = face["data"]
        expected = 100 * np.nanmean(metrics.landmark_errors, axis=0)
        errors = dict(zip(dots["text"], dots["marker"]["color"], strict=True))
        places = dict(zip(dots["text"], zip(dots["x"], dots["y"], strict=True), strict=True))
        for name, i in INDEX.items():
            assert errors[name.replace("_", " ")] == pytest.approx(expected[i], abs=1e-4)
        assert places["exocanthion left"][0] > 0.3 > -0.3 > places["exocanthion right"][0]
        assert places["brow middle left"][1] < places["menton"][1]
        assert face["layout"]["yaxis"]["autorange"] == "reversed"
    # One scale for all methods.
    largest = 100 * np.nanmean(inputs["metrics"]["second"].landmark_errors, axis=0).max()
    for face in faces:
        marker = face["data"][1]["marker"]
        assert (marker["cmin"], marker["cmax"]) == (0, pytest.approx(largest))


def test_method_without_any_result(inputs, tmp_path):
    inputs["metrics"]["second"] = make_metrics(1, failed=range(len(YAW)))
    inputs["predictions"]["second"] *= np.nan
    page = write(tmp_path, inputs)
    assert "no result" in Tags(page).text and "nan" not in Tags(page).text
    yaw, face = (figures(page)[key]["data"][1] for key in ("yaw", "face1"))
    assert yaw["y"] == [None] * 3 and face["x"] == []


@pytest.mark.parametrize("name", ["ibug68", "bfm72"])
def test_skeletons_have_all_edges_and_landmarks(inputs, tmp_path, name):
    topology = topologies.get(name)
    n = topology.num_landmarks
    if name != "ibug68":
        rng = np.random.default_rng(2)
        points = rng.normal(size=(len(YAW), n, 3))
        blank = np.zeros(len(YAW))
        errors = np.zeros((len(YAW), n))
        inputs |= {
            "topology": topology, "faces": Faces(points[..., :2], points, inputs["faces"].view),
            "metrics": {"first": Metrics(*[blank] * 6, errors)},
            "predictions": {"first": points[:1]},
        }
    traces = figures(write(tmp_path, inputs))["skeletons"]["data"]
    for trace in traces:
        shown = [t.split(":")[0] if t else None for t in trace["text"]]
        pairs = {frozenset(shown[i : i + 2]) for i in range(len(shown) - 1)}
        expected = {frozenset(topology.landmarks[i].replace("_", " ") for i in edge)
                    for edge in topology.edges}
        assert {p for p in pairs if None not in p} == expected
        assert {t for t in shown if t} == {x.replace("_", " ") for x in topology.landmarks}


def test_skeletons_are_aligned_without_reflection(inputs, tmp_path):
    inputs["predictions"]["second"] = inputs["predictions"]["second"] * [1, 1, -1]  # inside out
    inputs["predictions"]["first"][1] = np.nan
    inputs["metrics"]["first"] = make_metrics(1, failed=[1])
    figure = figures(write(tmp_path, inputs))["skeletons"]
    truth, first, second, _ = figure["data"]
    assert first["name"] == "first (1.1 %)" and second["name"] == "second (3.3 %)"
    np.testing.assert_allclose(edges_of(first), edges_of(truth), atol=2e-3)
    assert np.abs(edges_of(second) - edges_of(truth)).max() > 0.5
    # The choice of a face changes what is drawn and nothing else.
    for face, button in enumerate(figure["layout"]["updatemenus"][0]["buttons"]):
        assert button["method"] == "restyle"
        (changes,) = button["args"]
        assert set(changes) == {"x", "y", "z", "text", "name"}
        drawn = [{k: v[i] for k, v in changes.items()} for i in range(3)]
        if face == 1:
            assert changes["name"][1:3] == ["first (no result)", "second (no result)"]
            assert edges_of(drawn[1]).size == 0
        else:
            np.testing.assert_allclose(edges_of(drawn[1]), edges_of(drawn[0]), atol=2e-3)


def test_skeletons_are_upright_and_not_mirrored(inputs, tmp_path):
    figure = figures(write(tmp_path, inputs))["skeletons"]
    truth = figure["data"][0]
    place = {name: np.array(p) for name, *p in zip(
        truth["text"], truth["x"], truth["y"], truth["z"], strict=True) if name}
    camera = figure["layout"]["scene"]["camera"]
    eye, up = (np.array([camera[k][a] for a in "xyz"]) for k in ("eye", "up"))
    right = np.cross(-eye, up)
    assert (place["exocanthion left"] - place["exocanthion right"]) @ right > 0
    assert (place["brow middle left"] - place["menton"]) @ up > 0
    assert (place["pronasale"] - place["jaw 0 left"]) @ eye > 0
    assert len(set(figure["layout"]["scene"]["aspectratio"].values())) == 1


def test_page_is_reproducible_and_whole(inputs, tmp_path):
    page = write(tmp_path / "a", inputs)
    assert page == write(tmp_path / "b", inputs) == write(tmp_path / "a", inputs)
    tags = Tags(page)
    assert tags.count("script") == 2
    assert not any({"src", "href"} & set(attrs) for _, attrs in tags.tags)
    assert {"first", "1,235", "0.000123", "2"} <= set(tags.cells)


def test_texts_stay_texts(inputs, tmp_path):
    for key in ("metrics", "predictions"):
        inputs[key] = {EVIL: inputs[key]["first"], "<b>&lt;": inputs[key]["second"]}
    inputs |= {"title": EVIL, "about": {EVIL: EVIL},
               "tables": {EVIL: [{EVIL: EVIL, "method": "<b>&lt;"}]}}
    page = write(tmp_path, inputs)
    tags = Tags(page)
    assert tags.count("script") == 2 and tags.count("b") == 0
    # Page title, heading, about twice, table's heading, column and cell, face; plotly's own later.
    assert tags.text.count(EVIL) == 8 and tags.text.count("<b>&lt;") == 2
    traces = figures(page)["skeletons"]["data"]
    assert traces[1]["name"].startswith("&lt;script&gt;")
    assert traces[2]["name"].startswith("&lt;b&gt;&amp;lt;")


@pytest.mark.parametrize("spoil, message", [
    (lambda i: i["tables"].update(Empty=[]), "tables: expected rows in 'Empty'"),
    (lambda i: i.update(metrics={}), "expected at least one method"),
    (lambda i: i.update(predictions={}), "expected at least one method"),
    (lambda i: i["predictions"].update(other=np.zeros((3, N, 3))), "got 'other'"),
    (lambda i: i["predictions"].update(second=np.zeros((2, N, 3))), r"got \(2, 68, 3\)"),
    (lambda i: i["predictions"].update(first=np.zeros((7, N, 3))), "E from 1 to 6"),
    (lambda i: i.update(topology=topologies.get("flame51")), r"\(F, 51, 2\) of flame51"),
    (lambda i: i.update(faces=i["faces"]._replace(points=i["faces"].points * np.nan)), "finite"),
    (lambda i: i["metrics"].update(first=i["metrics"]["first"]._replace(nme=np.zeros(5))),
     r"metrics of 'first': expected nme \(6,\)"),
])
def test_bad_input_leaves_no_page(inputs, tmp_path, spoil, message):
    spoil(inputs)
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "new", **inputs)
    assert not (tmp_path / "new").exists()


# Runs in the page before its own scripts and at the end writes into it what it has seen: all that
# scripts complain about, what the policy blocked, what was loaded, and what `look` adds.
REPORTER = """
const seen = {errors: [], blocked: []};
addEventListener("error", e => seen.errors.push(e.message || e.target.outerHTML), true);
addEventListener("unhandledrejection", e => seen.errors.push(String(e.reason)));
addEventListener("securitypolicyviolation", e => seen.blocked.push(e.effectiveDirective));
for (const level of ["error", "warn"])
  console[level] = (...words) => seen.errors.push(words.join(" "));
const pause = milliseconds => new Promise(go => setTimeout(go, milliseconds));
addEventListener("load", async () => {
  await pause(1000);
  seen.loaded = performance.getEntriesByType("resource").map(entry => entry.name)
    .filter(name => !/^(data|blob):/.test(name));
  await look().catch(error => seen.errors.push(String(error)));
  seen.title = document.title;
  seen.text = document.body.innerText;
  const report = document.createElement("pre");
  report.id = "seen";
  report.textContent = JSON.stringify(seen);
  document.body.append(report);
});
"""


# Counts what is drawn, and acts as a reader would.
LOOK = """
async function look() {
  const count = selector => document.querySelectorAll(selector).length;
  seen.figures = Object.fromEntries([...document.querySelectorAll(".js-plotly-plot")].map(plot => [
    plot.id, {
      traces: count(`#${plot.id} .scatterlayer .trace`),
      points: count(`#${plot.id} .scatterlayer .point`),
      canvases: count(`#${plot.id} canvas`),
    }
  ]));
  const plot = document.getElementById("skeletons");
  if (!plot || !plot.data) return;
  seen.three = plot.data.filter(trace => trace.type === "scatter3d").map(trace => trace.name);
  // A 3D trace is drawn if the picture is another one without it.
  await Plotly.relayout(plot, {showlegend: false});
  const picture = () => Plotly.toImage(plot, {format: "png", width: 600, height: 600});
  const whole = await picture();
  seen.steady = whole === await picture();
  seen.drawn = [];
  for (const i of seen.three.keys()) {
    await Plotly.restyle(plot, {visible: false}, [i]);
    seen.drawn.push(whole !== await picture());
    await Plotly.restyle(plot, {visible: true}, [i]);
  }
  // As a reader would: hides a method, opens the menu, and selects the third face.
  await Plotly.restyle(plot, {visible: "legendonly"}, [2]);
  const menu = plot.querySelector(".updatemenu-header");
  seen.menu = menu.textContent;
  menu.dispatchEvent(new MouseEvent("click"));
  plot.querySelectorAll(".updatemenu-dropdown-button")[2].dispatchEvent(new MouseEvent("click"));
  await pause(1000);
  seen.selected = plot._fullData.map(trace => [trace.name, trace.visible, trace.x[0]]);
}
"""


def browse(page, folder, look):
    """What `REPORTER` has seen in a page."""
    script = REPORTER + look
    # The policy stays in force: it gets the hash of one more script.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    page = page.replace("<style>", f"<script>{script}</script>\n<style>", 1)
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--virtual-time-budget=60000", "--window-size=900,2400",
        "--dump-dom", (folder / "page.html").as_uri(),
    ]
    # Into files: a helper process that outlives the browser would hold a pipe open for ever.
    dom, log = folder / "dom.html", folder / "log.txt"
    with open(dom, "wb") as out, open(log, "wb") as err:
        browser = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            browser.wait(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)  # helpers too; the session is its own
            browser.wait()
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"the page reported nothing; the browser's log: {log.read_text()[-2000:]}"
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """A page, and what a browser makes of it."""
    if CHROMIUM is None:
        pytest.skip(f"no browser on the path: {', '.join(BROWSERS)}")
    folder = tmp_path_factory.mktemp("browsed")
    page = write(folder / "report", make_inputs() | {"title": EVIL})
    return page, browse(page, folder, LOOK)


def test_browser_draws_the_page(browsed):
    _, seen = browsed
    assert seen["errors"] == seen["blocked"] == seen["loaded"] == []
    # Two methods at three yaws; lines and landmarks of a face; the 2D landmarks beside the 3D ones.
    drawn = {name: (figure["traces"], figure["points"])
             for name, figure in seen["figures"].items()}
    traces, points = drawn.pop("skeletons")
    assert drawn == {"yaw": (2, 6), "face0": (2, N), "face1": (2, N)}
    assert traces == 1 and points >= N
    assert seen["figures"]["skeletons"]["canvases"] >= 1
    assert [name.partition(" (")[0] for name in seen["three"]] == ["Truth", "first", "second"]
    assert seen["steady"] and seen["drawn"] == [True] * 3
    assert seen["title"] == EVIL
    assert EVIL in seen["text"] and "WebGL is not supported" not in seen["text"]


def test_reader_selects_a_face(browsed):
    page, seen = browsed
    menu = figures(page)["skeletons"]["layout"]["updatemenus"][0]["buttons"]
    assert seen["menu"].startswith("Face 1, yaw -45°") and menu[0]["label"] == "Face 1, yaw -45°"
    (changes,) = menu[2]["args"]
    assert [name for name, _, _ in seen["selected"]] == changes["name"]
    assert [visible for _, visible, _ in seen["selected"]] == [True, True, "legendonly", True]
    assert [x for _, _, x in seen["selected"]] == [x[0] for x in changes["x"]]


def test_nothing_else_runs_or_loads(browsed, tmp_path):
    page, _ = browsed
    smuggled = f"{EVIL}<img src='https://example.org/a.png'>"
    page = page.replace("</body>", f"{smuggled}</body>")
    seen = browse(page, tmp_path, "async function look() {}")
    assert seen["title"] == EVIL  # not "evil"
    assert sorted(seen["blocked"]) == ["img-src", "script-src-elem"]
