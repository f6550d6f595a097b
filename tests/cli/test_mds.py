"""bin/mds, from tables to maps."""

import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

OPTIMA = pathlib.Path(__file__).resolve().parents[1] / "mds" / "optima"
EKMAN, GRUIJTER = (OPTIMA / "usage" / f"{name}.csv" for name in ("ekman", "gruijter"))


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["name"] for row in rows], np.array(
        [[float(row[key]) for key in row if key != "name"] for row in rows])


def test_a_table_of_names_becomes_a_map(tmp_path, succeed):
    pictures = ("plot", "shepard", "stress_plot", "scree")
    text = succeed("mds", GRUIJTER, "--transform=ratio", "--out=new/map.csv",
                   *(f"--{name}={name}.png" for name in pictures))
    # sqrt(0.0444297), the least that was published; R's smacof ends at sqrt(0.0446034).
    assert "9 points in 2 dimensions, ratio: stress-1 0.2108, converged after" in text
    assert "the best of 20 starts, met" in text
    assert "; wrote plot.png shepard.png stress_plot.png scree.png new/map.csv\n" in text
    names, columns = read(tmp_path / "new" / "map.csv")
    assert names == ["KVP", "PvdA", "VVD", "ARP", "CHU", "CPN", "PSP", "BP", "D66"]
    points, shares = columns[:, :2], columns[:, 2]
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-6)
    assert abs(np.cov(points.T)[0, 1]) < 1e-6 * np.cov(points.T)[1, 1]  # principal axes
    table = text.splitlines()[2:11]
    assert [line.split()[0] for line in table] == names
    np.testing.assert_allclose([float(line.split()[-1]) for line in table], 100 * shares, rtol=1e-3)
    for name in pictures:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size[0] > 800
    # The classical start alone ends higher; the same command draws the same map.
    alone = succeed("mds", GRUIJTER, "--transform=ratio", "--nosearch")
    assert "stress-1 0.2112, converged after" in alone
    before = (tmp_path / "new" / "map.csv").read_bytes()
    succeed("mds", GRUIJTER, "--transform=ratio", "--out=new/map.csv")
    assert (tmp_path / "new" / "map.csv").read_bytes() == before


def test_similarities(succeed):
    text = succeed("mds", EKMAN, "--similarities=one_minus")
    assert "14 points in 2 dimensions, ordinal: stress-1 0.0231, " in text
    text = succeed("mds", EKMAN, "--similarities=reverse", "--ties=secondary", "--nosearch")
    assert "stress-1 0.03159, " in text


def test_other_files_and_missing_pairs(tmp_path, succeed):
    content = json.loads((OPTIMA / "eurodist.json").read_text())
    pairs = np.array(content["dissimilarities"])
    np.save(tmp_path / "pairs.npy", pairs)
    text = succeed("mds", "pairs.npy", "--nosearch", "--transform=interval")
    expected = content["runs"]["2"]["optimum"]["interval"]["stress1"]
    assert f"21 points in 2 dimensions, interval: stress-1 {expected:.4g}, " in text
    rows = [f"p{i};p{j};{d}" for (i, j), d in zip(np.argwhere(np.tri(21, k=-1).T), pairs,
                                                  strict=True) if (i, j) != (0, 1)]
    (tmp_path / "list.tsv").write_text("\n".join(rows))
    text = succeed("mds", "list.tsv", "--nosearch", "--dims=3")
    assert "21 points in 3 dimensions, ordinal, 1 of 210 pairs missing: stress-1 0.0448" in text
    # A pair that lacks one direction is missing: no part of the stress.
    d = np.sqrt(np.abs(np.subtract.outer(np.arange(6), np.arange(6)) / 1.0))
    shown = []
    for gap in ([(4, 1)], [(1, 4)], [(4, 1), (1, 4)]):
        cells = [["" if (i, j) in gap else f"{d[i, j]}" for j in range(6)] for i in range(6)]
        (tmp_path / "gap.csv").write_text("\n".join(",".join(row) for row in cells))
        shown.append(succeed("mds", "gap.csv", "--nosearch", "--transform=ratio"))
        assert "1 of 15 pairs missing" in shown[-1]
    assert shown[0] == shown[1] == shown[2]


def test_names_are_made_safe_and_a_fit_that_says_nothing_is_told(tmp_path, call):
    (tmp_path / "m.csv").write_text("=1+1,-b,x\x1b[31m\n0,1,2\n1,0,1.5\n2,1.5,0\n")
    done = call("mds", "m.csv", "--nosearch", "--dims=1", "--out=o.csv")
    assert done.status == 0
    assert "x\\x1b[31m" in done.stdout and "\x1b" not in done.stdout
    assert "3 points in 1 dimension, ordinal: stress-1 " in done.stdout
    assert "the fit is perfect: other maps may fit as well" in done.stderr
    shares = [line.split(",")[-1] for line in (tmp_path / "o.csv").read_text().splitlines()[1:]]
    assert set(map(float, shares)) == {0.0}
    assert [line.split(",")[0] for line in (tmp_path / "o.csv").read_text().splitlines()] == [
        "name", "'=1+1", "'-b", "x\\x1b[31m"]


@pytest.mark.parametrize(("content", "flags", "message"), [
    (None, [], "m.csv"),
    ("0,1\n1,x\n", [], "m.csv: line 2, column 2: 'x', expected a number"),
    (",a,b,c\na,0,1,2\nb,1,0,3\nc,9,3,0\n", [], "m.csv: row 'a', column 'c' is 2, but row 'c', "
                                               "column 'a' is 9, expected the same; --mean"),
    (",a,b,c\na,0,-1,2\nb,-1,0,3\nc,2,3,0\n", [], "row 'a', column 'b' is -1, expected none < 0"),
    (",a,b,c\na,1,.1,.2\nb,.1,1,.3\nc,.2,.3,1\n", [],
     "m.csv: the largest values are on the diagonal: for similarities give --similarities=WAY"),
    ("from,to,freq\na,b,1\na,c,2\nb,c,3\n", ["--mean"],
     "m.csv: the values are called 'freq', which may mean similarities: for these give --similari"),
    ("a,b,1\nb,a,2\na,c,2\nb,c,3\n", [], "m.csv: line 2: b and a have 2, but 1 in line 1; --mean"),
    (",a,b,c\na,,1,2\nb,1,,3\nc,2,3,\n", ["--similarities=confusion"],
     "m.csv: similarities: expected counts > 0, with the diagonal for 'confusion', got nan on the"),
    (",a,b,c\na,1,.1,.2\nb,.1,1,.3\nc,.2,.3,1\n", ["--similarities=near"],
     "similarities: expected one of correlation, one_minus, "),
    (",a,b,c\na,1,0,.2\nb,0,1,.3\nc,.2,.3,1\n", ["--similarities=reciprocal"],
     "m.csv: similarities: expected > 0 for 'reciprocal', got 0"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--dims=3"], "dims: expected 1 to 2 for 3 points, got 3"),
    ("a,b,1\nc,d,1\n", [],
     "m.csv: dissimilarities: expected the observed pairs to connect all points"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--plot=map.gif"], "map.gif: unknown picture format"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--out=map.txt"], "map.txt: unknown format, expected .csv or .tsv"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--out=m.csv"], "out: m.csv would replace m.csv"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--out=m.csv/o.csv"], "m.csv is no folder"),
    ("0,1,2\n1,0,3\n2,3,0\n", ["--plot=a.png", "--scree=./a.png"], "scree: ./a.png would replace"),
])
def test_bad_input_is_told_in_a_line(tmp_path, refuse, content, flags, message):
    if content is not None:
        (tmp_path / "m.csv").write_text(content)
    assert message in refuse("mds", "m.csv", "--nosearch", *flags)


def test_one_file_is_wanted(refuse):
    assert "expected one file of dissimilarities, got 0" in refuse("mds")


def test_help(succeed):
    text = succeed("mds", "--help")
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "--transform=ratio|interval|" in text
    assert "correlation, one_minus, reverse" in " ".join(text.split())


def test_the_mean_of_both_triangles(tmp_path, succeed):
    (tmp_path / "a.csv").write_text("0,2,3\n4,0,3\n5,5,0\n")
    (tmp_path / "b.csv").write_text("0,3,4\n3,0,4\n4,4,0\n")
    (tmp_path / "c.csv").write_text("1,2,2\n2,1,4\n1,3,3\n3,1,5\n2,3,4\n")
    texts = [succeed("mds", name, "--nosearch", "--transform=ratio", *flags)
             for name, flags in (("a.csv", ["--mean"]), ("b.csv", []), ("c.csv", ["--mean"]))]
    assert texts[0] == texts[1] == texts[2]


def test_zeros_on_the_diagonal_are_not_the_least_similarities(tmp_path, succeed):
    (tmp_path / "pairs.csv").write_text("i,j,similarity\n1,2,5\n1,3,4\n2,3,3\n")
    (tmp_path / "zeros.csv").write_text("0,5,4\n5,0,3\n4,3,0\n")
    (tmp_path / "reversed.csv").write_text("0,3,4\n3,0,5\n4,5,0\n")  # 5 + 3 - similarity
    texts = [succeed("mds", f"{name}.csv", "--nosearch", "--transform=ratio", *flags)
             for name, flags in (("pairs", ["--similarities=reverse"]),
                                 ("zeros", ["--similarities=reverse"]), ("reversed", []))]
    assert texts[0] == texts[1] == texts[2]


def test_pairs_of_confusions_need_not_be_symmetric(tmp_path, succeed):
    (tmp_path / "square.csv").write_text("9,2,1\n8,9,4\n3,1,9\n")
    (tmp_path / "pairs.csv").write_text("i,j,count\n1,1,9\n1,2,2\n1,3,1\n2,1,8\n2,2,9\n2,3,4\n"
                                        "3,1,3\n3,2,1\n3,3,9\n")
    texts = [succeed("mds", f"{name}.csv", "--nosearch", "--transform=ratio",
                     "--similarities=confusion") for name in ("square", "pairs")]
    assert texts[0] == texts[1]
