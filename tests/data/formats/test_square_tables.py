"""Matrices in texts of every layout, and texts that are none."""

import re

import numpy as np
import pytest

from deepmds_jax.data.formats.dissimilarity_files import check_dissimilarities
from deepmds_jax.data.formats.measure_words import says_similarity
from deepmds_jax.data.formats.square_tables import parse_square

FULL = np.array([[0, 1, 2, 4], [1, 0, 3, 5], [2, 3, 0, 6], [4, 5, 6, 0.5]])
FULL[3, 3] = 0
NAMES, YEARS = list("abcd"), ["1990", "1991", "1992", "1993"]


def text(rows, mark=","):
    return "\n".join(mark.join(row) for row in rows) + "\n"


def cells(values):
    return [f"{value:g}" for value in values]


def whole(names=None, corner=None, header=True):
    rows = [([] if names is None else [name]) + cells(row)
            for name, row in zip(names or NAMES, FULL, strict=True)]
    return rows if not header else [([] if corner is None else [corner]) + (names or NAMES), *rows]


def lower(names=None, diagonal=True, padded=False):
    rows = []
    for i, row in enumerate(FULL):
        length = i + diagonal
        rows.append(([] if names is None else [names[i]]) + cells(row[:length])
                    + [""] * padded * (4 - length))
    return rows


def upper(names=None, diagonal=True, padded=False):
    return [([] if names is None else [names[i]]) + [""] * padded * (i + 1 - diagonal)
            + cells(row[i + 1 - diagonal:]) for i, row in enumerate(FULL)]


COUNTED = {
    "rows counted, as pandas does": text([["", *NAMES], *(
        [str(i), *cells(row)] for i, row in enumerate(FULL))]),
    "rows counted, as R does": text([['""', *NAMES], *(
        [f'"{i}"', *cells(row)] for i, row in enumerate(FULL, 1))]),
    "columns counted": text([["", *"0123"], *(
        [name, *cells(row)] for name, row in zip(NAMES, FULL, strict=True))]),
}
NAMED = COUNTED | {
    "header": text(whole()),
    "header of a column of names": text(whole(NAMES, "")),
    "corner": text(whole(NAMES, "city")),
    "no corner": text(whole(NAMES)),
    "column of names": text(whole(NAMES, header=False)),
    "tabs": text(whole(NAMES, ""), "\t"),
    "semicolons": text(whole(NAMES, ""), ";"),
    "spaces and quotes": text([[f'"{cell}"' if cell in NAMES else cell for cell in row]
                               for row in whole(NAMES)], "   "),
    "marks at the ends, empty rows": text([[*row, ""] for row in whole()]) + ",,,,\n\n",
    "rows in another order": text([whole(NAMES, "")[i] for i in (0, 3, 1, 4, 2)]),
    "lower": text([["", *NAMES], *lower(NAMES)]),
    "lower, padded": text([["", *NAMES], *lower(NAMES, padded=True)]),
    "lower, no diagonal": text([["", *NAMES], *lower(NAMES, False)]),
    "lower, no diagonal, no header": text(lower(NAMES, False)),
    "lower, no first row": text([["", *NAMES], *lower(NAMES, False)[1:]]),
    "lower under a header": text([NAMES, *lower()]),
    "as R prints it": "  a b c\nb 1    \nc 2 3  \nd 4 5 6\n",
    "upper": text([["", *NAMES], *upper(NAMES, padded=True)]),
    "upper, no diagonal": text([["", *NAMES[1:]], *upper([*NAMES[:3], ""], False)[:3]]),
    "pairs": "a,b,1\na,c,2\nb,c,3\na,d,4\nb,d,5\nd,c,6\n",
    "pairs under a header": "from,to,how far\na,b,1\na,c,2\nb,c,3\na,d,4\nb,d,5\nd,c,6\na,a,0\n",
}
UNNAMED = {
    "plain": text(whole(header=False)),
    "lower": text(lower()),
    "lower, no diagonal": text(lower(diagonal=False)[1:]),
    "lower, padded": text(lower(padded=True)),
    "lower, no diagonal, padded": text(lower(diagonal=False, padded=True)),
    "upper": text(upper()),
    "upper, no diagonal": text(upper(diagonal=False)[:3]),
    "upper, padded": text(upper(padded=True)),
    "upper, no diagonal, padded": text(upper(diagonal=False, padded=True)),
    "pairs": "1,2,1\n1,3,2\n2,3,3\n1,4,4\n2,4,5\n3,4,6\n",
    "pairs under a header": "i,j,distance\n1,2,1\n1,3,2\n2,3,3\n1,4,4\n2,4,5\n3,4,6\n",
}
NUMBERED = {
    "corner": text(whole(YEARS, "year")),
    "empty corner": text(whole(YEARS, "")),
    "no corner": text(whole(YEARS)),
}


@pytest.mark.parametrize(
    ("content", "labels"),
    [pytest.param(content, labels, id=f"{labels[0]}: {name}")
     for layouts, labels in ((NAMED, NAMES), (UNNAMED, list("1234")), (NUMBERED, YEARS))
     for name, content in layouts.items() if (name, labels) != ("no corner", YEARS)])
def test_layouts(content, labels):
    found = parse_square(content)
    assert sorted(found.labels) == labels
    order = np.argsort(found.labels)
    values = found.values[np.ix_(order, order)]
    away = ~np.eye(4, dtype=bool)
    np.testing.assert_array_equal(values[away], FULL[away])
    assert np.all(np.isnan(np.diag(values)) | (np.diag(values) == 0))


@pytest.mark.parametrize("names", [list("0123"), ["2001", "2002", "2003", "2004"]])
def test_numbers_over_a_whole_matrix_are_names(names):
    found = parse_square(text([names, *map(cells, FULL)]))
    assert found.labels == names
    np.testing.assert_array_equal(found.values, FULL)
    three = parse_square(text([names[:3], *map(cells, FULL[:3, :3])]))  # like pairs of numbers
    assert three.labels == names[:3]
    np.testing.assert_array_equal(three.values, FULL[:3, :3])


def test_numbers_over_a_column_of_numbers_are_no_header():
    with pytest.raises(ValueError, match="line 1: 4 numbers, expected 5 as in other lines"):
        parse_square(NUMBERED["no corner"])


@pytest.mark.parametrize("names", [
    ["192.168.100.101", "192.168.100.102", "192.168.100.103"], ["100 200", "100 300", "b"],
    ["010 123", "010 456", "010 789"], ["1,234,567", "1,234,568", "1'234"]])
def test_names_that_look_like_numbers_with_marks_of_thousands(names):
    rows = [cells(row[:3]) for row in FULL[:3]]
    named = [[name, *row] for name, row in zip(names, rows, strict=True)]
    for content in (named, [names, *rows], [["", *names], *named], [names, *named]):
        found = parse_square(text(content, ";"))
        assert found.labels == names
        np.testing.assert_array_equal(found.values, FULL[:3, :3])


def test_missing_values_and_decimal_commas():
    found = parse_square("\tß\t'=b\t c \nß\t0\t1,5\tNA\n'=b\t1,5\t\t-\nc\t\t2,25\t0\n")
    assert found.labels == ["ß", "=b", "c"]
    np.testing.assert_array_equal(
        found.values, [[0, 1.5, np.nan], [1.5, np.nan, np.nan], [np.nan, 2.25, 0]])
    found = parse_square("a,b,1\nb,c,2\n")
    np.testing.assert_array_equal(found.values, [[0, 1, np.nan], [1, 0, 2], [np.nan, 2, 0]])
    found = parse_square("sep=;\r\n;a;b\r\na;0;1,5\r\nb;1,5;0\r\n")
    np.testing.assert_array_equal(found.values, [[0, 1.5], [1.5, 0]])
    # One pair in one line is no header.
    assert parse_square("a,b,5").values[0, 1] == 5


@pytest.mark.parametrize(("content", "labels"), [
    ('"a;b",c,1\n"a;b",d,2\nc,d,3\n', ["a;b", "c", "d"]),
    (',a;b,c,d\na;b,0,1,2\nc,1,0,3\nd,2,3,0\n', ["a;b", "c", "d"]),  # in fewer lines than commas
    ('"a, b";c;1\nc;d;3\n"a, b";d;2\n', ["a, b", "c", "d"]),
    ('"a, b" c 1\nc d 3\n"a, b" d 2\n', ["a, b", "c", "d"]),
    ('"a\tb ""x"",";c;1\nc;d;3\n"a\tb ""x"",";d;2\n', ['a\\tb "x",', "c", "d"]),
    ("\tA, GR\tR, IT\tP, FR\nA, GR\nR, IT\t1\nP, FR\t2\t3\n", ["A, GR", "R, IT", "P, FR"]),
    ("\nA, GR;R, IT;1\nA, GR;P, FR;2\nR, IT;P, FR;3\n\n\n\n", ["A, GR", "R, IT", "P, FR"]),
    ("\t\t\na,b,1\na,c,2\nb,c,3\n", ["a", "b", "c"]),
    ("a b\nc d,1\ne f,2,3\n", ["a b", "c d", "e f"]),  # a triangle, with fewer commas than spaces
    ('6" pipe;b;1\n6" pipe;12" pipe;2\nb;12" pipe;3\n', ['6" pipe', "b", '12" pipe']),
])
def test_marks_in_labels_part_no_cells(content, labels):
    found = parse_square(content)
    assert [label.replace("\t", r"\t") for label in found.labels] == labels
    np.testing.assert_array_equal(found.values[np.triu_indices(3, 1)], [1, 2, 3])


@pytest.mark.parametrize("numbers", ["123", "047"])
def test_pairs_with_the_numbers_of_their_rows(numbers):
    rows = zip(numbers, ("a,b,1", "a,c,2", "b,c,3"), strict=True)
    found = parse_square("\n".join(['"",from,to,km', *map(",".join, rows)]))
    assert found.labels == ["a", "b", "c"]
    np.testing.assert_array_equal(found.values, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])


def test_three_pairs_of_numbered_things_as_r_writes_them():
    rows = '"1","1","2",0.5\n"2","1","3",0.7\n"3","2","3",0.9\n'
    found = parse_square('"","Var1","Var2","Freq"\n' + rows)
    assert found.labels == ["1", "2", "3"]
    np.testing.assert_array_equal(found.values, [[0, 0.5, 0.7], [0.5, 0, 0.9], [0.7, 0.9, 0]])
    square = parse_square(",a,b,d\n1,0,1,2\n2,1,0,3\n3,2,3,0\n")
    assert square.labels == ["a", "b", "d"]


def test_pairs_of_numbered_things_with_the_numbers_of_their_rows():
    """As R writes `as.data.frame(as.table(d))` of things that are called 10, 20, 30."""
    things, values = (10, 20, 30), [[0, 1.5, 2], [1.5, 0, 2.5], [2, 2.5, 0]]
    rows = [f"{thing},{other},{values[i][j]}" for j, other in enumerate(things)
            for i, thing in enumerate(things)]
    lines = ['"","Var1","Var2","Freq"', *(f'"{k}",{row}' for k, row in enumerate(rows, 1))]
    found = parse_square("\n".join(lines))
    assert found.labels == ["10", "20", "30"]
    np.testing.assert_array_equal(found.values, values)
    square = parse_square(",a,b,d\n1,0,2,3\n2,2,0,4\n3,3,4,0\n")  # its rows are only counted
    np.testing.assert_array_equal(square.values, [[0, 2, 3], [2, 0, 4], [3, 4, 0]])


@pytest.mark.parametrize("content", [
    "from,to,distance\na,b,1.5\na,c,2\nb,c,3\n",
    "distance,from,to\n1.5,a,b\n2,a,c\n3,b,c\n",
    "from,km distance,to\na,1.5,b\na,2,c\nb,3,c\n",
    ",dist,from,to\n0,1.5,a,b\n1,2,a,c\n2,3,b,c\n",  # as pandas writes it
    '"from" "to" "km"\n"1" "a" "b" 1.5\n"2" "a" "c" 2\n"3" "b" "c" 3\n',  # as R does
    'from,to,km\na,b,"1,5"\na,c,2\nb,c,3\n',
    "distance,from,to\n1.5,1,2\n2,1,3\n3,2,3\n",
    "dissimilarity;i;j\n1,5;1;2\n2;1;3\n3;2;3\n",
    *(f"a,b,{name}\na,b,1.5\na,c,2\nb,c,3\n" for name in (
        "1-r", "1 - r", "3D distance", "2D_dist", "3D RMSD")),
    ",a,b,2D_dist\n0,a,b,1.5\n1,a,c,2\n2,b,c,3\n",
    "distance_from,distance_to,km\n1,2,1.5\n1,3,2\n2,3,3\n",
    "distance_from,distance_to,km\na,b,1.5\na,c,2\nb,c,3\n",
    "i,j,1-r\n1,2,1.5\n1,3,2\n2,3,3\n",
])
def test_columns_of_pairs_in_any_order(content):
    found = parse_square(content)
    assert "".join(found.labels) in ("abc", "123")
    np.testing.assert_array_equal(found.values, [[0, 1.5, 2], [1.5, 0, 3], [2, 3, 0]])


@pytest.mark.parametrize(("content", "labels"), [
    ("b,c,d\n0,2,2\n2,0,2\n2,2,0\n", ["b", "c", "d"]),
    ("Count of b,c,d\nc,0,2\nd,2,0\n", ["c", "d"])])
def test_a_square_under_what_values_are_called_is_no_list(content, labels):
    found = parse_square(content)
    assert found.labels == labels
    np.testing.assert_array_equal(found.values, 2 - 2 * np.eye(len(labels)))


def test_both_directions_of_pairs():
    content = "a,b,1\nb,a,2\nb,c,3\na,a,5\n"
    found = parse_square(content, directed=True)
    np.testing.assert_array_equal(found.values, [[5, 1, np.nan], [2, 0, 3], [np.nan, 3, 0]])
    with pytest.raises(ValueError, match="line 2: b and a have 2, but 1 in line 1; --mean takes"):
        parse_square(content)
    for directed in (True, False):  # the same direction twice
        with pytest.raises(ValueError, match=r"line 2: a and b have 2, but 1 in line 1$"):
            parse_square("a,b,1\na,b,2\n", directed)


@pytest.mark.parametrize(("content", "called"), [
    ("from,to,{}\na,b,1\na,c,2\nb,c,3\n", True),
    ("{},from,to\n1,a,b\n2,a,c\n3,b,c\n", True),
    ("i,j,{}\n1,2,1\n1,3,2\n2,3,3\n", True),
    ("{},a,b\na,0,1\nb,1,0\n", True),
    (",a,{}\na,0,1\n{},1,0\n", False),
    ("a,{}\n0,1\n1,0\n", False),
])
def test_what_the_values_are_called(content, called):
    for name in ("Similarity", "co-occurrence", "trips (count)"):
        found = parse_square(content.replace("{}", name))
        assert found.measure == name if called else not found.measure


@pytest.mark.parametrize(("names", "expected"), [
    (["pearson", "Spearman's rho", "tau", "jaccard", "r2", "kinship", "scores", "bitscore",
      "rating", "mutual_information", "co-citations", "LOD", "links", "Häufigkeit"], True),
    (["1-pearson", "jaccard distance", "Abstand"], False),
    (["similarity", "Freq", "n", "correlation", "r", "shared_species", "weight", "co-occurrences",
      "Cosine similarity", "COUNT"], True),
    (["distance", "dissimilarity", "km", "value", "", "correlation distance", "cosine_dist",
      "weighted", "name", "dissim", "dissimilar", "diss", "freq_dissim", "dissim (1 - r)", "1-r",
      "1 - cosine", "(1 - corr)"], False), (["1-5 similarity", "2 - r"], True)])
def test_names_that_say_similarity(names, expected):
    assert [name for name in names if says_similarity(name) != expected] == []


@pytest.mark.parametrize(("corners", "expected"), [
    (["Common name", "n", "N", "No.", "Weight", "Count", "Frequency (Hz)", "1 - correlation"],
     False),
    (["Similarity", "co-occurrence", "correlations", "Proximity", "Affinity"], True)])
def test_corners_name_the_rows_of_distances(corners, expected):
    for corner in corners:
        for diagonal in ("0", ""):
            found = parse_square(f"{corner},Wolf,Fox\nWolf,{diagonal},1\nFox,1,{diagonal}\n")
            assert found.measure == corner
            if expected:
                with pytest.raises(ValueError, match="which may mean similarities"):
                    check_dissimilarities(found)
            else:
                check_dissimilarities(found)
    with pytest.raises(ValueError, match="the values are called 'Count', which may mean simil"):
        check_dissimilarities(parse_square("Count,Wolf,Fox\nWolf,3,1\nFox,1,3\n"))


def test_freq_over_a_whole_table_with_a_zero_diagonal_says_nothing():
    """R's `as.data.frame(as.table(d))` calls any values so."""
    rows = ["a,a,0", "a,b,1", "b,a,1", "b,b,0"]
    called = [parse_square("\n".join([f"Var1,Var2,{name}", *some])).measure for name, some in (
        ("Freq", rows), ("freq", rows[:3]), ("Freq", [*rows[:3], "b,b,2"]),
        ("Freq", [*rows[:3], "b,b,NA"]), ("count", rows))]
    assert called == [None, "freq", "Freq", "Freq", "count"]


def test_distances_without_names_as_r_prints_them_with_a_diagonal():
    found = parse_square("    1   2   3\n1 0.0        \n2 1.0 0.0    \n3 2.0 3.0 0.0\n")
    assert found.labels == ["1", "2", "3"]
    np.testing.assert_array_equal(found.values, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])


@pytest.mark.parametrize("content", ["1,2,3\n", "1\n2\n3\n", "1\t2\t3", "1.0 2.0 3.0\n\n"])
def test_vectors_of_pairs(content):
    found = parse_square(content)
    assert found.labels == ["1", "2", "3"] and found.measure is None
    np.testing.assert_array_equal(found.values, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    with pytest.raises(ValueError, match=r"a vector of 4 numbers, expected n \(n - 1\) / 2"):
        parse_square("1\n2\n3\n4\n")
    with pytest.raises(ValueError):  # a gap may be a missing pair
        parse_square("1\n\n2\n3\n")


@pytest.mark.parametrize("header", ["", "user,item,rating\n"])
def test_pairs_of_different_things_are_refused(header):
    ratings = "ann,Alien,5\nann,Heat,1\nbob,Alien,1\nbob,Heat,4\n"
    with pytest.raises(ValueError, match=r"share none \('ann', .* and 'Alien', .*mds\.unfold"):
        parse_square(header + ratings)
    for pairs in ("a,b,1\n", "a,b,1\na,c,2\na,d,3\n", "a,b,1\nb,c,2\n", "a,b,1\nc,b,2\n"):
        assert len(parse_square(header + pairs).labels) > 1


def test_distances_without_names_as_r_prints_them():
    found = parse_square("     1    2    3\n2 3313          \n3 2963 1318     \n4 3175 1326  204\n")
    assert found.labels == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(np.nan_to_num(found.values), [
        [0, 3313, 2963, 3175], [3313, 0, 1318, 1326], [2963, 1318, 0, 204], [3175, 1326, 204, 0]])


@pytest.mark.parametrize("content", [
    "3 5 2\n1 4 3\n2 4 1\n5 1 2\n3 1 4\n2 5 4\n1 2 2\n",  # ratings of three things
    "1,1,2.5\n2,1,3.1\n3,2,2.2\n4,2,2.7\n",  # person, group, measure
    "1,1,5\n2,2,4\n3,3,6\n4,4,1\n",  # no pair at all
    "1,2,3\n1,3,2\n2,3,1\n1,1,2\n",  # every pair, but something is unlike itself
])
def test_three_columns_of_numbers_are_pairs_only_if_all_are_there(content):
    with pytest.raises(ValueError, match="rows of up to 3 numbers, expected a square, a triangle"):
        parse_square(content)


@pytest.mark.parametrize("content", [
    ";a;b;c\na;0;566;1.597\nb;566;0;3.811\nc;1.597;3.811;0\n",
    "a\tb\t566\na\tc\t1.597\nb\tc\t3.811\n",
    "1;2;566\n1;3;1.597\n2;3;3.811\n2;4;1.100\n1;4;1.200\n3;4;1.300\n"])
def test_points_that_may_part_thousands(content):
    message = r"'1\.597' may be 1597 or 1\.597: write it without a point, or every number with one"
    with pytest.raises(ValueError, match=message):
        parse_square(content)
    # Each of these tells what the point means; three decimals beside 0 and commas are usual.
    for old, new in (("3.811", "3.81"), ("3.811", "0.811"), ("566", "566.0"), ("566", "0"),
                     ("566", "1.566"), (";", ","), ("\t", ",")):
        if old in content:
            found = parse_square(content.replace(old, new))
            assert found.values[found.labels.index("3" if "3" in found.labels else "c"), 0] == 1.597


@pytest.mark.parametrize("content", [
    ',a,b\na,0,"1023,4"\nb,"1023,4",0\n', 'C,A,"1023,4"\n', "a;b\n0;1023,4\n1023,4;0\n"])
def test_decimal_commas(content):
    np.testing.assert_array_equal(parse_square(content).values, 1023.4 * (1 - np.eye(2)))
    with pytest.raises(ValueError, match=r"'1,023' may be 1023 or 1\.023: write it without"):
        parse_square(content.replace("1023,4", "1,023"))
    found = parse_square(content.replace("1023,4", "0,023"))  # no mark of thousands
    assert found.values[0, 1] == 0.023


@pytest.mark.parametrize("cell", ['"1,597.8"', "1.597,8", "1 597", "1'597", "1\u2019597", "$5",
                                  "95%", "5 km", "\u20ac 1.5"])
@pytest.mark.parametrize("content", [
    ";a;b\na;0;{}\nb;{};0\n", ";a;b;c\na;{};{};{}\nb;{};{};{}\nc;{};{};{}\n",
    "a;b;2\na;c;{}\n", "a;b;{}\na;c;2\n", "a;b;{}\na;c;{}\n",
    "from;to;km\na;b;{}\na;c;{}\n", "i;j;d\n1;2;{}\n1;3;{}\n1;4;2\n"])
def test_how_to_write_a_number_is_told(cell, content):
    told = re.escape(cell.strip('"'))
    with pytest.raises(ValueError, match=f"line .*'{told}', expected a number: write it without"):
        parse_square(content.replace("{}", cell))


def test_a_number_with_marks_in_the_first_line_is_no_name():
    with pytest.raises(ValueError, match="line 1, column 2: '1 597', expected a number: write it"):
        parse_square("0;1 597;2\n1 597;0;3\n2;3;0\n")


@pytest.mark.parametrize(("content", "message"), [
    ("", "no rows"),
    ("pair,from,to,distance\n10,a,b,1\n11,a,c,2\n", "rows of two names and 2 numbers, expected one "
     "number for each pair and its two names: delete the other columns, and give each subject a"),
    ("subject,from,to,distance\ns1,a,b,1\ns2,a,b,2\n", "rows of three names and 1 number, exp"),
    ("from,to,km\na,b,1,5\nb,c,2,5\n", "line 2: 4 cells, expected 3 as in the header; where com"),
    ("i,j,distance\n1,2,6,5\n2,3,1,5\n3,4,3,5\n4,5,3,5\n", "the row '1' has no column of that"),
    ("name,x,group\na,1.5,g\nb,2.5,g\n", r"line 2 \(a\), column 3 \(group\): 'g', expected a"),
    ("a,b,c", "no rows under the header"),
    (",,\n,\n", "no rows"),
    ("a,b\n,\n,NA\n", "no numbers"),
    (",a,b\na,0,x\nb,1,0\n", r"line 2 \(a\), column 3 \(b\): 'x', expected a number"),
    ("0,1\n1,inf\n", "line 2, column 2: 'inf', expected a finite number"),
    ("0\t1,000\n1,000\t0\n", "line 1, column 2: '1,000' may be 1000 or 1.000: write it without"),
    ("0;1,5\n1.5;0\n", "line 1, column 2: '1,5' may be 15 or 1.5"),
    (",a,a\na,0,1\na,1,0\n", "2 points have the name 'a'"),
    (",a,b,c\na,0,1,2\nb,1,0,3\nx,2,3,0\n", "the row 'x' has no column of that name, expected "
     "the same names in both"),
    ("a,b,weight,d\na,b,1,5\na,c,2,3\n", "rows of two names and 2 numbers, expected one number"),
    ("sep=;\n;a;b\na;0;x\nb;1;0\n", r"line 3 \(a\), column 3 \(b\): 'x', expected a number"),
    (",a,b,c\n1,0,x,2\n2,3,0,4\n3,2,4,0\n", r"line 2 \(1\), column 3 \(b\): 'x', expected"),
    (",a,b\na,0,1,2\nb,1,0,3\n", "line 2: 3 numbers under 2 names of columns"),
    ("0,1,2\n1,0\n2,3,0\n", "line 2: 2 numbers, expected 3 as in other lines"),
    ("0,1,2\n1,0,3\n", "2 rows of up to 3 numbers, expected a square, a triangle, or rows of two"),
    ("x,y,z\n.1,.2,.4\n.3,.5,.1\n1,2,3\n4,5,6\n", "4 rows of up to 3 numbers, expected a square"),
    ("  a b c d\na   1 2 4\nb 1   3 5\nc 2 3   6\nd 4 5 6  \n", "4 rows of 3 numbers for 4 points"),
    ("1\n.5,1\n.2,.3,1\n", "a triangle that ends in 1 in each row: cannot tell whether these are"),
    ("a,b,1\nb,a,2\n", "line 2: b and a have 2, but 1 in line 1"),
    ('"a,b', "line 1: unexpected end of data"),
    ("a,\x1b[31m\na,0,x\nb,0,1\n", r"line 2 \(a\), column 3 \(\\x1b\[31m\): 'x', expected"),
])
def test_what_is_no_matrix_is_refused_with_the_place(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_square(content)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("content", "labels"), [
    ('"","1","2","3"\n"2",1,NA,NA\n"3",2,3,NA\n"4",4,5,6\n', list("1234")),  # as R writes tests
    (",0,1,2\n1,1,,\n2,2,3,\n3,4,5,6\n", list("0123")),
    (",2,3,4\n1,1,2,4\n2,,3,5\n3,,,6\n", list("1234")),
    (",1,2,3\n0,1,2,4\n1,,3,5\n2,,,6\n", list("0123")),
])
def test_numbers_for_names_of_a_triangle_without_its_diagonal(content, labels):
    found = parse_square(content)
    assert found.labels == labels
    np.testing.assert_array_equal(np.nan_to_num(found.values), FULL)


def test_zeros_beside_the_diagonal_that_numbers_for_names_leave_out():
    found = parse_square(",1,2,3\n2,0,NA,NA\n3,2,0,NA\n4,3,1,0\n")
    assert found.labels == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(np.nan_to_num(found.values), [
        [0, 0, 2, 3], [0, 0, 0, 1], [2, 0, 0, 0], [3, 1, 0, 0]])
    whole_matrix = parse_square(",0,1,2\n1,0,2,3\n2,2,0,1\n3,3,1,0\n")  # so these only count
    np.testing.assert_array_equal(whole_matrix.values, [[0, 2, 3], [2, 0, 1], [3, 1, 0]])


@pytest.mark.parametrize(("content", "message"), [
    (",0,1,2\n1,0,,\n2,2,0,\n3,3,1,0\n", "rows 1, 2, ... under columns 0, 1, ..., with 0, ..."),
    (",1,2,3\n0,1,.2,.3\n1,,1,.1\n2,,,1\n", "rows 0, 1, ... under columns 1, 2, ..., with 1, ..."),
    (",2,3,7\n1,0,2,3\n2,,0,1\n3,,,0\n", "rows 1, 2, ... under columns 2, 3, ..., with 0, ..."),
    (",2,3,7\n1,5,2,3\n2,,6,1\n3,,,8\n", "rows 1, 2, ... under columns 2, 3, ..., with 5, ..."),
    (",1,2,3\n2,,,\n3,2,,\n4,3,1,\n", "rows 2, 3, ... under columns 1, 2, ..., with nan, ..."),
])
def test_what_may_be_the_diagonal_of_a_triangle_or_beside_it_is_refused(content, message):
    with pytest.raises(ValueError, match=re.escape(message) + " where its diagonal may be: give"):
        parse_square(content)


@pytest.mark.parametrize("content", [
    ",x,y,d\n1,5,2,2\n2,2,6,3\n3,2,3,7\n", "x,y,d\n5,2,2\n2,6,3\n2,3,7\n"])
def test_three_rows_over_which_a_point_is_called_as_distances_are(content):
    found = parse_square(content)
    assert found.labels == ["x", "y", "d"]
    np.testing.assert_array_equal(found.values, [[5, 2, 2], [2, 6, 3], [2, 3, 7]])


def test_three_pairs_of_numbered_things_over_a_letter():
    found = parse_square(",i,j,d\n1,1,2,1\n2,1,3,2\n3,2,3,3\n")
    assert found.labels == ["1", "2", "3"]
    np.testing.assert_array_equal(found.values, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])


@pytest.mark.parametrize(("content", "row"), [
    ("from,to,dist\n1,2,3\n2,3,1\n3,1,2\n", "1,1,0"),  # every pair, and symmetric
    (",i,j,dist\n1,1,2,3\n2,2,3,4\n3,3,4,5\n", "4,1,1,0"),
    (",i,j,d\n1,1,2,3\n2,1,3,1\n3,1,4,2\n", "4,1,1,0"),  # neither
])
def test_three_rows_of_numbers_that_may_be_pairs_or_a_matrix_are_refused(content, row):
    with pytest.raises(ValueError, match=r"three rows of numbers under .*, d.* may be pairs or a "
                                         "matrix: to pairs add that of one with itself and 0, as"):
        parse_square(content)
    assert parse_square(content + row).values[0, 1] == 3  # the pair of 1 and 2


@pytest.mark.parametrize("content", [
    '"1" "2" "3" "4"\n"1" 0 1 2 4\n"2" 1 0 3 5\n"3" 2 3 0 6\n"4" 4 5 6 0\n',
    '"1","2","3","4"\n"1",0,1,2,4\n"2",1,0,3,5\n"3",2,3,0,6\n"4",4,5,6,0\n',
    "  1 2 3 4\n1 0 1 2 4\n2 1 0 3 5\n3 2 3 0 6\n4 4 5 6 0\n",
    "2\t5\t9\t11\n2\t0\t1\t2\t4\n5\t1\t0\t3\t5\n9\t2\t3\t0\t6\n11\t4\t5\t6\t0\n",
    "1990;1991;1992;1993\n1990;0;1;2;4\n1991;1;0;3;5\n1992;2;3;0;6\n1993;4;5;6;0\n",
    "     1990 1991 1992\n1991    1          \n1992    2    3     \n1993    4    5    6\n",
    "     101 102b 103\n102b   1         \n103    2   3    \n104    4   5   6\n",
])
def test_numbers_for_names_without_a_corner_as_r_writes_them(content):
    found = parse_square(content)
    assert "".join(found.labels) in ("1234", "25911", "1990199119921993", "101102b103104")
    np.testing.assert_array_equal(np.nan_to_num(found.values), FULL)


@pytest.mark.parametrize("names", ["1 2 3", "a b c"])
def test_a_printed_square_without_its_diagonal_is_refused_with_a_way_out(names):
    one, two, three = names.split()
    with pytest.raises(ValueError, match=r"3 rows of 2 numbers for 3 points, .* with diag=TRUE"):
        parse_square(f"  {names}\n{one}   1 2\n{two} 1   3\n{three} 2 3  \n")


@pytest.mark.parametrize("content", [
    "from,to,distance\n101,102,1\n101,102b,2\n102,102b,3\n101,103,4\n102,103,5\n102b,103,6\n",
    "distance,from,to\n1,101,102\n2,101,102b\n3,102,102b\n4,101,103\n5,102,103\n6,102b,103\n",
    '"","from","to","d"\n"1",101,"102",1\n"2",101,"102b",2\n"3",102,"102b",3\n"4",101,"103",4\n'
    '"5",102,"103",5\n"6","102b","103",6\n',
    "101,102,1\n101,102b,2\n102,102b,3\n101,103,4\n102,103,5\n102b,103,6\n",
])
def test_pairs_of_names_of_which_some_are_numbers(content):
    found = parse_square(content)
    assert found.labels == ["101", "102", "102b", "103"]
    np.testing.assert_array_equal(found.values, FULL)


@pytest.mark.parametrize(("content", "message"), [
    ("from,to,distance\n101,102b,1\n101,,2\n102,103,3\n", r"line 2, column 2 \(to\): '102b', exp"),
    ("id,x,d\nx,5 km,2\nd,2,5\n", r"line 2 \(x\), column 2 \(x\): '5 km', expected a number"),
    ("name,age,distance\nann,23,5\nbob,31,7\ncid,31,7\n", "the row 'ann' has no column of that"),
])
def test_words_beside_numbers_that_are_no_names_of_pairs(content, message):
    with pytest.raises(ValueError, match=message):
        parse_square(content)
    found = parse_square("id,101,d\n101,0,5\nd,5,0\n")
    assert found.labels == ["101", "d"] and found.values[0, 1] == 5


@pytest.mark.parametrize(("content", "called"), [
    (",0\n0,0.0\n1,2.3\n2,3.1\n", "0"),  # as pandas writes a series
    (",distance\n0,0.0\n1,2.3\n2,3.1\n", "distance"),
    ("distance\n0\n2.3\n3.1\n", "distance"),
    ("similarity\n0\n2.3\n3.1\n", "similarity"),
    ('"","x"\n"1",0\n"2",2.3\n"3",3.1\n', "x"),  # as R does
    ('"x"\n"1" 0\n"2" 2.3\n"3" 3.1\n', "x"),
    ('"x"\n"1",0\n"2",2.3\n"3",3.1\n', "x"),
    ('"";"x"\n"1";0\n"2";2,3\n"3";3,1\n', "x"),
    ("sep=;\n0\n2,3\n3,1\n", None),
])
def test_a_vector_in_one_column_may_be_named_and_counted(content, called):
    found = parse_square(content)
    assert found.labels == ["1", "2", "3"] and found.measure == called
    np.testing.assert_array_equal(found.values, [[0, 0, 2.3], [0, 0, 3.1], [2.3, 3.1, 0]])


@pytest.mark.parametrize(("content", "message"), [
    ("1,5\n2,3\n3,1\n", "line 1: '1,5' is two numbers, expected a matrix, or a column of all "
     "pairs; if the comma is a decimal point write 1.5, or sep=; in a line before all others"),
    ("x\n4\n2,3\n3,1\n", "line 3: '2,3' is two numbers"),
    ('"x"\n1,5\n2,3\n3,1\n', "line 2: '1,5' is two numbers"),
    ("distance\n1\n2\n3\n4\n", "a vector of 4 numbers, expected n"),
    ("distance\n1\n\n2\n3\n", "3 rows of up to 1 numbers, expected a square"),
    ("$5\n1\n2\n3\n", "3 rows of up to 1 numbers, expected a square"),
    (",distance\n1,0\n2,inf\n3,2\n", r"line 3 \(2\), column 2: 'inf', expected a finite number"),
])
def test_columns_that_are_no_vector_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        parse_square(content)


def test_a_pair_of_one_thing_with_itself_tells_that_two_columns_are_of_the_same_things():
    pairs = "A,C,1\nA,D,2\nB,C,1\nB,D,2\n"
    with pytest.raises(ValueError, match="add that of one with itself and 0, as A,A,0"):
        parse_square(pairs)
    found = parse_square(pairs + "A,A,0\n")
    assert found.labels == ["A", "C", "D", "B"]
    np.testing.assert_array_equal(found.values, [
        [0, 1, 2, np.nan], [1, 0, np.nan, 1], [2, np.nan, 0, 2], [np.nan, 1, 2, 0]])


COUNTED_ROWS = {
    "PHYLIP": text(whole(NAMES, header=False), " "),
    "PHYLIP, tabs": text(whole(NAMES, header=False), "\t"),
    "PHYLIP, lower": text(lower(NAMES), " "),
    "PHYLIP, lower, no diagonal": text(lower(NAMES, False), " "),
    "PHYLIP, upper": text(upper(NAMES), "   "),
    "PHYLIP, upper, no diagonal": text(upper(NAMES, False), " "),
    "PHYLIP, long lines": text([part for row in whole(NAMES, header=False)
                                for part in (row[:3], ["", *row[3:]])], "  "),
    "Mothur": text(lower(NAMES), "\t"),
    "Mothur, no diagonal": text(lower(NAMES, False), "\t"),
    "Mothur, marks at the ends": text([[*row, ""] for row in lower(NAMES, False)], "\t"),
    "Mothur, missing diagonal": text([[*row, "NA"] for row in lower(NAMES, False)], "\t"),
    "lower, padded": text(lower(NAMES, padded=True)),
    "lower, no diagonal, padded": text(lower(NAMES, False, True)),
    "numbers for names": text(whole(YEARS, header=False), " "),
    "numbers for names, lower": text(lower(YEARS), " "),
    "numbers for names, lower, no diagonal": text(lower(YEARS, False), " "),
    "no names": text(whole(header=False)),
    "no names, lower": text(lower()),
    "no names, upper": text(upper()),
}


@pytest.mark.parametrize("name", COUNTED_ROWS)
@pytest.mark.parametrize("count", ["4", "   4", "4\t\t\t\t", "4,,,"])
def test_matrices_under_the_number_of_their_rows(name, count):
    if count[1:2] not in COUNTED_ROWS[name]:  # padded as the others are
        count = "4"
    found = parse_square(f"{count}\n{COUNTED_ROWS[name]}")
    expected = (YEARS if name.startswith("numbers") else list("1234") if name.startswith("no names")
                else NAMES)
    assert found.labels == expected
    np.testing.assert_array_equal(np.nan_to_num(found.values), FULL)


def test_names_of_phylip_are_of_ten_characters():
    for end in ("", " "):
        found = parse_square(f"3\nHomo sapie{end}0.0 1 2\nPan       {end}1.0 0 3\n"
                             f"Rat rattus{end}2.0 3 0\n")
        assert found.labels == ["Homo sapie", "Pan", "Rat rattus"]
        np.testing.assert_array_equal(found.values, FULL[:3, :3])
    found = parse_square("3\nHomo sap\nPan       1\nRat r     2 3\n")
    assert found.labels == ["Homo sap", "Pan", "Rat r"]
    with pytest.raises(ValueError, match=r"line 4 \(C\), column 2: 'x', expected a number"):
        parse_square("4\nA 0\nB 1 0\nC x 4 0\nD 3 5 6 0\n")


@pytest.mark.parametrize(("content", "message"), [
    ("5\nA 0\nB 1 0\nC 2 4 0\nD 3 5 6 0\n", "line 1: '5' alone over 4 rows, expected the number"),
    ("\n3\nA 0 1\nB 1 0\n", "line 2: '3' alone over 2 rows"),
    ("5\nA\nB 1\nC 2 4\n", "line 1: '5' alone over 3 rows"),
    ("5\n1 0\n2 5 0\n3 6 4 0\n", "line 1: '5' alone over 3 rows"),
    ("2\nfoo 1\nbar 2 3\n", "line 1: '2' may be the number of the rows below, or a part of"),
    ("3\n1 1\n2 .5 1\n3 .2 .3 1\n", "line 1: '3' may be the number of the rows below"),
    ("3\n5\n1 5\n2 3 5\n", "line 1: '3' may be the number of the rows below"),
    ("2\n5 0\n7 4 0\n", "line 1: '2' may be the number of the rows below"),
    ("3\n1 2 5\n1 3 4\n2 3 6\n", "line 1: '3' over rows without names, expected a symmetric"),
    ("3\nA 0\nA 1 0\nB 2 3 0\n", "2 points have the name 'A'"),
])
def test_numbers_of_rows_that_do_not_fit_or_may_be_something_else(content, message):
    with pytest.raises(ValueError, match=message):
        parse_square(content)


@pytest.mark.parametrize(("content", "labels", "values"), [
    ("2\n3 4\n", "1 2 3", [2, 3, 4]),
    ("2\n3 4\n5 6 7\n", "1 2 3 4", [2, 3, 5, 4, 6, 7]),
    ("2,,\n3,4,\n5,6,7\n", "1 2 3 4", [2, 3, 5, 4, 6, 7]),
    ("1\n3 4\n", "1 2 3", [1, 3, 4]),
    ("2\n3\n5\n", "1 2 3", [2, 3, 5]),
    ("0\n1 0\n2 3 0\n", "1 2 3", [1, 2, 3]),
    ("10\nfoo 1\nbar 2 3\n", "10 foo bar", [1, 2, 3]),
    ("10\nfoo,1\nbar,2,3\nx,4,5,\n", "10 foo bar x", [1, 2, 4, 3, 5, np.nan]),
])
def test_numbers_alone_in_the_first_line_that_are_no_numbers_of_rows(content, labels, values):
    found = parse_square(content)
    assert found.labels == labels.split()
    np.testing.assert_array_equal(found.values[np.triu_indices(len(found.labels), 1)], values)


@pytest.mark.parametrize("content", [
    "1\n2,31\n3,22,14\n", "0\n1 31\n2 22 14\n", "2019\n2020 3\n2021 5 4\n2022 6 7 8\n",
    "1,,\n2,5,\n3,6,7\n"])
def test_a_triangle_whose_rows_may_begin_with_names_is_refused(content):
    with pytest.raises(ValueError, match="cannot tell whether these are names; give the whole"):
        parse_square(content)


ODD = ["?", ".", "--", "*", "_", "n.a.", "<NA>", "(missing)", "1.#QNAN", "-nan(ind)", "<0.01",
       "1.5*", "1.5km", "(1.5)", "\u2014", "#VALUE!", "#DIV/0!"]


@pytest.mark.parametrize("cell", ODD)
@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_an_odd_cell_in_the_first_row_makes_no_header(cell, mark):
    message = f"line 1, column 2: '{re.escape(cell)}', expected a number as beside it, NA if it is"
    first = ["0", cell, "2", "3"]
    for rows in ([first, [cell, "0", "4", "5"], *whole(header=False)[2:]], [first, *upper()[1:]],
                 [first[1:] if mark == "," else ["1", cell, "4"], *upper(diagonal=False)[1:3]]):
        with pytest.raises(ValueError, match=message if rows[0][1] == cell else "line 1, column 1"):
            parse_square(text(rows, mark))


@pytest.mark.parametrize(("content", "place"), [
    ("0,?,.\n?,0,5\n.,5,0\n", "line 1, column 2: '\\?'"),
    ("1,.5*,.3*\n.5*,1,.2\n.3*,.2,1\n", r"line 1, column 2: '\.5\*'"),  # stars of significance
    ("0,foo,2\nfoo,0,1\n2,1,0\n", "line 1, column 2: 'foo'"),
    ("?,1,2\n1,0,4\n2,4,0\n", "line 1, column 1: '\\?'"),
    ("?,2,3\n4,5\n6\n", "line 1, column 1: '\\?'"),
    ("1\n2 3\n? 5 6\n", "line 3, column 1: '\\?'"),
    ("1,,\n2,3,\n<5,5,6\n", "line 3, column 1: '<5'"),
    ("0\n1 0\n? 3 0\n", "line 3, column 1: '\\?'"),
    ("1,2,4\n?,5\n6\n", "line 2, column 1: '\\?'"),
])
def test_odd_cells_that_take_a_point_are_refused(content, place):
    with pytest.raises(ValueError, match=f"{place}, expected a number as beside it"):
        parse_square(content)


@pytest.mark.parametrize(("content", "labels"), [
    (",?,1\n?,0,5\n1,5,0\n", "? 1"), ("?,a,b\na,0,5\nb,5,0\n", "a b"),
    ("#\t1\t2\n1\t0\t5\n2\t5\t0\n", "1 2"), ("0,a,b\na,0,5\nb,5,0\n", "a b"),
    ("2020,a,b\na,0,5\nb,5,0\n", "a b"), ("(1)\n(2) 5\n", "(1) (2)"),
    ("101\n102b 5\n", "101 102b"), ("101,102b,103\n5,1\n2\n", "101 102b 103"),
    ("101;102b;103\n;5;1\n;;2\n", "101 102b 103"),
    ("101,b,103\n0,5,1\n5,0,2\n1,2,0\n", "101 b 103"),
])
def test_names_that_are_odd_or_stand_beside_a_number(content, labels):
    found = parse_square(content)
    assert found.labels == labels.split() and found.values[0, 1] == 5


def test_exponents_as_fortran_writes_them():
    for one in ("1.0D+00", "0.1d1", "+.01D+02", "1.D0"):
        found = parse_square(f"0.0D+00 {one} 2.0D+00\n{one} 0.D0 3\n2 .3D+1 0.0D+00\n")
        assert found.labels == ["1", "2", "3"]
        np.testing.assert_array_equal(found.values, FULL[:3, :3])
    assert parse_square("2D-1,2D-2,5\n").labels == ["2D-1", "2D-2"]


@pytest.mark.parametrize(("content", "labels"), [
    ("# a,b,c\n0,1,2\n1,0,3\n2,3,0\n", "abc"), ("#a\tb\tc\n0\t1\t2\n1\t0\t3\n2\t3\t0\n", "abc"),
    ("# a b c\n0 1 2\n1 0 3\n2 3 0\n", "abc"), ("#a b c\n0\n1 0\n2 3 0\n", "abc"),
    ("# a,b,c\na,0,1,2\nb,1,0,3\nc,2,3,0\n", "abc"), ("# 7 8 9\n0 1 2\n1 0 3\n2 3 0\n", "789"),
    ("# x,a,b,c\na,0,1,2\nb,1,0,3\nc,2,3,0\n", "abc"), ("# i j d\n1 2 1\n1 3 2\n2 3 3\n", "123"),
    ("# a b c\na 0 1 2\nb 1 0 3\nc 2 3 0\n", "abc"),
    ("#1,#2,#3\n0,1,2\n1,0,3\n2,3,0\n", "#1#2#3"), ("#a,b,c\n#a,0,1,2\nb,1,0,3\nc,2,3,0\n", "#abc"),
])
def test_the_mark_of_a_comment_before_a_header_is_no_part_of_it(content, labels):
    found = parse_square(content)
    assert "".join(found.labels) == labels
    np.testing.assert_array_equal(found.values, FULL[:3, :3])
    with pytest.raises(ValueError, match="line 1, column 1: '# 0', expected a number as beside it"):
        parse_square("# 0,1,2\n1,0,3\n2,3,0\n")  # a row that was taken out
    for named in ("#a,b,1\nc,b,2\n", "#a\nb,1\n", "#a,0,1\nb,1,0\n", "#a\nb,1\nc,2,3\n"):
        assert parse_square(named).labels[:2] == ["#a", "b"]


@pytest.mark.parametrize("content", [
    "level_0,level_1,0\n0,1,1\n0,2,2\n1,2,3\n0,0,0\n", "level_0,level_1,0\na,b,1\na,c,2\nb,c,3\n",
    ",level_0,level_1,0\n0,a,b,1\n1,a,c,2\n2,b,c,3\n", "from,to,0\na,b,1\na,c,2\nb,c,3\n",
    ",level_0,level_1,0\n0,0,1,1\n1,0,2,2\n2,1,2,3\n3,0,0,0\n",
    "i j dist\n1 1 2 1\n2 1 3 2\n3 2 3 3\n4 1 1 0\n", "i j dist\n1 1 2 1\n2 1 3 2\n3 2 3 3\n",
    '"i","j","dist"\n"4",1,2,1\n"7",1,3,2\n"8",2,3,3\n"9",3,3,0\n',
])
def test_pairs_as_pandas_stacks_them_and_r_numbers_them(content):
    found = parse_square(content)
    assert "".join(found.labels) in ("abc", "012", "123")
    np.testing.assert_array_equal(found.values, FULL[:3, :3])
    assert parse_square("from,to,0\nfrom,x,2\nto,x,3\n").labels == ["from", "to", "x"]


@pytest.mark.parametrize("diagonal", [True, False])
def test_upper_triangles_whose_rows_were_moved_to_the_left(diagonal):
    rows = upper(NAMES, diagonal)
    padded = [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]
    header = ["", *NAMES]
    for content in (rows, rows[:3], padded, padded[:3]):
        for table in ([header, *content], content) if len(content) == 4 else ([header, *content],):
            if diagonal and len(content) == 3:
                continue
            found = parse_square(text(table))
            assert found.labels == NAMES
            np.testing.assert_array_equal(np.nan_to_num(found.values), FULL)
    known = parse_square("1,2,4\n2,5,\n4,,\n")  # both triangles are the same
    np.testing.assert_array_equal(known.values, [[1, 2, 4], [2, 5, np.nan], [4, np.nan, np.nan]])
