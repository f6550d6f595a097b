"""Figures: what the artists hold and where it lands on the picture."""

import xml.etree.ElementTree

import numpy as np
import PIL.Image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from deepmds_jax import topologies
from deepmds_jax.evaluation.figures import (
    draw_pages,
    draw_reconstructions,
    save_figure,
    save_pages,
)

TOPOLOGY = topologies.get("ibug68")
N, EDGES = TOPOLOGY.num_landmarks, np.array(TOPOLOGY.edges)
INDEX = {name: i for i, name in enumerate(TOPOLOGY.landmarks)}
MINUS = "\N{MINUS SIGN}"
PANELS = ["image", "frontal", "front", "three-quarter", "profile"]


def make_face(seed=0):
    """A face by rules: sides by name, brows at the top, the chin at the bottom, the nose ahead."""
    rng = np.random.default_rng(seed)
    heights = {"brow": -1.0, "exocanthion": -0.6, "pronasale": 0.0, "cheilion": 0.5, "menton": 1.2}
    depths = {"pronasale": -1.0, "jaw": 1.0}
    points = rng.uniform(-0.1, 0.1, (N, 3))
    for name, i in INDEX.items():
        side = 1 if name.endswith("_left") else -1 if name.endswith("_right") else 0
        prefix = name.split("_")[0]
        points[i] += [0.8 * side, heights.get(prefix, 0), depths.get(prefix, 0)]
    points -= points.mean(0)
    return {
        "points": points / np.sqrt((points**2).sum(1).mean()),
        "frontal": rng.permuted((points[:, :2] + 2) / 4, axis=0),
        "x2d": points[:, :2] * 20 + [150.0, 100.0],
    }


def panels(figure):
    """One dictionary of axes by label per row."""
    axes = [axes for axes in figure.axes if axes.get_label() in PANELS]
    rows = [axes[i : i + len(PANELS)] for i in range(0, len(axes), len(PANELS))]
    return [dict(zip(PANELS, row, strict=True)) for row in rows]


def artists(axes):
    lines, dots = axes.collections
    return np.array(lines.get_segments()), np.array(dots.get_offsets()), dots.get_array()


def sort_rows(array):
    array = np.asarray(array, float).reshape(len(array), -1)
    return array[np.lexsort(array.T)]


def test_panels_show_the_data():
    faces = {"a": make_face(0), "b": make_face(1)}
    rows = panels(draw_reconstructions(faces, TOPOLOGY))
    assert len(rows) == 2
    for face, row in zip(faces.values(), rows, strict=True):
        x, y, z = face["points"].T
        expected = {
            "image": face["x2d"].T,
            "frontal": face["frontal"].T,
            "front": (x, y),
            "three-quarter": ((x + z) / np.sqrt(2), y),
            "profile": (z, y),
        }
        for label, (right, down) in expected.items():
            assert row[label].get_label() == label
            segments, offsets, colors = artists(row[label])
            shown = np.stack([right, down], -1)
            # Drawn from far to near: compare as sets. The colour is the depth in every panel.
            np.testing.assert_allclose(
                sort_rows(np.column_stack([offsets, colors])),
                sort_rows(np.column_stack([shown, z])),
                atol=1e-12,
            )
            np.testing.assert_allclose(sort_rows(segments), sort_rows(shown[EDGES]), atol=1e-12)
            inside = row[label].viewLim
            assert all(inside.contains(*point) for point in shown)


def test_faces_are_upright_and_not_mirrored():
    (row,) = panels(draw_reconstructions({"a": make_face()}, TOPOLOGY))
    face = make_face()
    x, y, z = face["points"].T
    shown = {"image": face["x2d"], "front": np.stack([x, y], -1), "profile": np.stack([z, y], -1)}
    shown["three-quarter"] = np.stack([(x + z) / np.sqrt(2), y], -1)
    for label, points in shown.items():
        # The origin of display coordinates is the lower left corner of the picture.
        right, up = row[label].transData.transform(points).T
        assert up[INDEX["brow_middle_left"]] > up[INDEX["cheilion_left"]] > up[INDEX["menton"]]
        if label == "profile":
            assert right.argmin() == INDEX["pronasale"]
        else:
            assert right[INDEX["exocanthion_left"]] > right[INDEX["exocanthion_right"]]
            assert right[INDEX["cheilion_left"]] > right[INDEX["cheilion_right"]]


def test_near_side_covers_far_side_and_far_side_is_paler():
    (row,) = panels(draw_reconstructions({"a": make_face()}, TOPOLOGY))
    points = make_face()["points"]
    for label, distance in (("front", points[:, 2]), ("profile", -points[:, 0])):
        _, offsets, _ = artists(row[label])
        order = np.argsort(-distance)
        down = offsets[:, 1]
        np.testing.assert_allclose(down, points[order, 1])
    alpha = row["profile"].collections[1].get_alpha()
    assert alpha[0] == pytest.approx(0.2, abs=0.1) and alpha[-1] == 1
    assert np.all(row["front"].collections[1].get_alpha() == 1)


def test_3d_panels_have_one_scale_and_state_its_unit():
    small = make_face(1)
    small["points"] = small["points"] / 2
    figure = draw_reconstructions({"a": make_face(0), "small": small}, TOPOLOGY)
    sizes = [np.ptp(row[label].get_xlim()) for row in panels(figure) for label in PANELS[2:]]
    np.testing.assert_allclose(sizes, sizes[0])
    for row in panels(figure):
        for axes in row.values():
            box = axes.get_window_extent()
            assert box.width == pytest.approx(box.height)
            assert axes.get_aspect() == 1
            assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))
    (unit,) = (axes for axes in figure.axes if axes.get_label() == "unit")
    panel = panels(figure)[0]["front"]
    pixels = np.diff(panel.transData.transform([[0, 0], [1, 0]])[:, 0])[0]
    assert unit.get_window_extent().width == pytest.approx(pixels)
    assert "1 unit: root-mean-square distance to the centroid" in texts(figure)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_titles_and_names():
    long = "a" * 80 + "#1"
    figure = draw_reconstructions({"$x_{$ & <1>": make_face(), long: make_face(1)}, TOPOLOGY)
    for title in ("Landmarks", "Frontalised", "3D, front", "3D, turned by 45°", "3D, left profile"):
        assert texts(figure).count(title) == 1
    assert "$x_{$ & <1>" in texts(figure)
    assert f"{'a' * 19}…{'a' * 10}#1" in texts(figure)
    FigureCanvasAgg(figure).draw()  # a name with a dollar is no formula
    box = figure.bbox
    for text in figure.texts:
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 and extent.x1 <= box.x1
        assert box.y0 <= extent.y0 and extent.y1 <= box.y1


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_image_lies_under_the_landmarks(channels, dtype):
    face = make_face()
    width, height = 165, 140  # smaller than the window: it ends inside it on the right
    white = 255 if dtype == np.uint8 else 1
    image = np.full((height, width, *channels), white * 0.8, dtype)
    x, y = 152, 83
    assert np.abs(face["x2d"] - [x, y]).max(1).min() > 2  # no dot there
    image[y - 1 : y + 2, x - 1 : x + 2] = 0
    if channels == (4,):
        image[..., 3] = white
    figure = draw_reconstructions({"a": face}, TOPOLOGY, {"a": image})
    (row,) = panels(figure)
    axes = row["image"]
    (shown,) = axes.images
    assert shown.get_array().size < image.size  # cropped to the face
    centre = (face["x2d"].min(0) + face["x2d"].max(0)) / 2
    assert np.mean(axes.get_xlim()) == pytest.approx(centre[0])
    assert np.mean(axes.get_ylim()) == pytest.approx(centre[1])
    assert np.ptp(axes.get_xlim()) == pytest.approx(1.5 * np.ptp(face["x2d"], axis=0).max())

    figure.set_dpi(300)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]

    def colour(x, y):
        right, up = axes.transData.transform([x, y])
        return picture[picture.shape[0] - 1 - int(up), int(right)].tolist()

    grey = [204] * 3
    for dx, dy in ((0, 0), (1.2, 0), (-1.2, 0), (0, 1.2), (0, -1.2)):
        assert colour(x + dx, y + dy) == [0, 0, 0]
    for dx, dy in ((2.2, 0), (-2.2, 0), (0, 2.2), (0, -2.2)):
        assert colour(x + dx, y + dy) == grey
    assert colour(width - 1, 118) == grey != colour(width, 118)  # where the image ends


def test_landmarks_beside_the_image_are_drawn_without_it():
    image = np.zeros((20, 20, 3), np.uint8)
    (row,) = panels(draw_reconstructions({"a": make_face()}, TOPOLOGY, {"a": image}))
    assert not row["image"].images and len(row["image"].collections) == 2


def test_real_photographs(shared, tmp_path):
    topology = topologies.get("flame51")
    folder = shared / "data/celeba_hq_samples"
    mean = np.load(shared / "data/ict_facekit/ict68.npz")["mean"][17:] * [1, -1, -1]
    points = (mean - mean.mean(0)) / np.sqrt(((mean - mean.mean(0)) ** 2).sum(1).mean())
    faces, images = {}, {}
    for path in sorted(folder.glob("*.jpeg")):
        x2d = np.load(folder / f"{path.stem}_lmks.npy")
        faces[path.stem] = {"x2d": x2d, "frontal": points[:, :2], "points": points}
        with PIL.Image.open(path) as image:
            images[path.stem] = np.asarray(image)
    figure = draw_reconstructions(faces, topology, images)
    assert [bool(row["image"].images) for row in panels(figure)] == [True] * 4
    save_figure(figure, tmp_path / "out.png")
    with PIL.Image.open(tmp_path / "out.png") as picture:
        assert picture.size == tuple(np.rint(figure.get_size_inches() * 200).astype(int))


def test_face_without_frontal_view_has_no_such_panel():
    face = make_face()
    bare = {key: face[key] for key in ("x2d", "points")}
    for faces, expected in (({"a": face, "b": bare}, 1), ({"a": bare}, 0)):
        figure = draw_reconstructions(faces, TOPOLOGY)
        labels = [axes.get_label() for axes in figure.axes]
        assert labels.count("frontal") == expected
        assert labels.count("profile") == len(faces)
        assert texts(figure).count("Frontalised") == expected  # the column is not there


def test_the_shape_lies_in_the_image_beside_the_landmarks():
    face = make_face()
    placed = np.column_stack([face["x2d"] + [3, -2], face["points"][:, 2]])
    del face["frontal"]
    image = np.zeros((200, 300, 3), np.uint8)
    faces = {"a": face | {"image_points": placed}, "b": make_face(1)}
    figure = draw_reconstructions(faces, TOPOLOGY, {"a": image})
    axes = {axes.get_label(): axes for axes in reversed(figure.axes)}
    (panel,) = (axes for axes in figure.axes if axes.get_label() == "placed")
    assert texts(figure).count("3D in the image") == 1
    _, offsets, depths = artists(panel)
    np.testing.assert_allclose(sort_rows(np.column_stack([offsets, depths])), sort_rows(placed))
    assert panel.images and panel.get_xlim() == axes["image"].get_xlim()  # to compare the two
    assert panel.get_ylim() == axes["image"].get_ylim()
    x0, x1 = axes["image"].get_position().x1, axes["frontal"].get_position().x0
    assert x0 < panel.get_position().x0 < panel.get_position().x1 < x1


def test_captions_tell_pose_and_trust():
    told = {"yaw": np.array(-12.34), "pitch": 5.0, "roll": -0.01}
    good = make_face() | told | {"std": np.full((N, 3), 0.0251), "converged": np.array(True),
                                "visible": np.arange(N) > 2}
    bad = make_face(1) | told | {"std": np.ones((N, 3)), "converged": np.array(False)}
    published = make_face(2) | told
    figure = draw_reconstructions(
        {"good": good, "bad": bad, "published": published, "none": make_face(3)}, TOPOLOGY)
    found = [text for text in figure.texts if text.get_text().startswith("yaw")]
    pose = f"yaw {MINUS}12.3°   pitch 5.0°   roll 0.0°"
    assert [text.get_text() for text in found] == [
        f"{pose}   ·   std 2.5 % of size   ·   converged   ·   3 hidden, filled in",
        f"{pose}   ·   std 100.0 % of size   ·   not converged", pose]
    assert found[1].get_color() != found[0].get_color() == found[2].get_color()
    for text, row in zip(found, panels(figure), strict=False):  # below its own row
        box = text.get_window_extent()
        assert box.y1 < row["image"].get_window_extent().y0
    assert found[0].get_window_extent().y0 > panels(figure)[1]["image"].get_window_extent().y1


def test_legend_has_numbers_and_nothing_overlaps():
    face = make_face()
    face["points"][:, 2] = np.linspace(-0.654, 1.1, N)
    bare = {key: face[key] for key in ("x2d", "points")}  # the narrowest
    figure = draw_reconstructions({"a": bare}, TOPOLOGY)
    assert f"depth in units: near {MINUS}0.65" in texts(figure) and "1.10 far" in texts(figure)
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_pages_of_ten(tmp_path):
    face = make_face()
    pages = draw_pages({f"face {i}": face for i in range(12)}, TOPOLOGY)
    assert [len(panels(page)) for page in pages] == [10, 2]
    assert "face 9" in texts(pages[0]) and "face 10" in texts(pages[1])
    small = pages[1:] * 2
    paths = save_pages(small, tmp_path / "a.png")
    assert paths == [tmp_path / "a-1.png", tmp_path / "a-2.png"]
    assert sorted(tmp_path.iterdir()) == paths
    assert save_pages(small[:1], tmp_path / "b.svg") == [tmp_path / "b.svg"]
    assert save_pages(small, tmp_path / "c.pdf") == [tmp_path / "c.pdf"]
    assert (tmp_path / "c.pdf").read_bytes().count(b"/Type /Page /") == 2
    with pytest.raises(ValueError, match="faces: expected at least one, got none"):
        draw_pages({}, TOPOLOGY)


def test_saves_whole_files(tmp_path):
    figure = draw_reconstructions({"a": make_face()}, TOPOLOGY)
    for suffix in (".png", ".svg", ".pdf"):
        save_figure(figure, tmp_path / "new" / f"out{suffix}")
    assert sorted(file.suffix for file in (tmp_path / "new").iterdir()) == [".pdf", ".png", ".svg"]
    with PIL.Image.open(tmp_path / "new/out.png") as picture:
        picture.verify()
    root = xml.etree.ElementTree.parse(tmp_path / "new/out.svg").getroot()
    assert root.tag.endswith("svg")
    assert (tmp_path / "new/out.pdf").read_bytes().rstrip().endswith(b"%%EOF")
    with pytest.raises(ValueError, match=r"out\.jpg: unknown picture format, expected \.png, "):
        save_figure(figure, tmp_path / "other" / "out.jpg")
    assert not (tmp_path / "other").exists()


def test_refuses_bad_input():
    def refuses(match, images=None, **arrays):
        with pytest.raises(ValueError, match=match):
            draw_reconstructions({"a": make_face() | arrays}, TOPOLOGY, images)

    refuses(r"x2d of 'a': expected \(68, 2\), got \(51, 2\)", x2d=np.ones((51, 2)))
    refuses(r"points of 'a': expected \(68, 3\), got \(68, 2\)", points=np.ones((68, 2)))
    refuses(r"frontal of 'a': expected \(68, 2\), got \(\)", frontal=None)
    refuses(r"image_points of 'a': expected \(68, 3\), got", image_points=np.ones((68, 2)))
    refuses("points of 'a': expected finite numbers", points=np.full((68, 3), np.nan))
    refuses(
        r"image of 'a': expected \(height, width, 3\), got \(9, 9, 2\)", {"a": np.ones((9, 9, 2))}
    )
    with pytest.raises(ValueError, match="faces: expected at least one, got none"):
        draw_reconstructions({}, TOPOLOGY)
