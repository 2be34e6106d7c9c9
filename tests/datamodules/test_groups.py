"""Samples that belong together stay in one split, over both datasets; folds are disjoint and cover all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from datamodules.cutting import cut
from datamodules.folds import fold_of
from datamodules.groups import groups_of
from datamodules.pair import MergedData, SequentialData
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.npz import NpzImages
from datamodules.readers.page_table import PageTable
from datamodules.readers.picture_table import PictureTable
from datamodules.readers.texts import TextTable
from datamodules.splits import UNUSED, dealt
from datamodules.synthetic.scenes import Scenes

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

few = settings(max_examples=60, deadline=None)
SPLITS = ("train", "val", "test")
NUMBER = r"/(\d+)"  # of the photograph, in the names of the made data below


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (10, 10, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def made(tmp_path):
    """60 photographs of two classes, and one to three sketches of each of the last 40 and of 20 others."""
    for i in range(80):
        label = "ab"[i % 2]
        if i < 60:
            draw(tmp_path / "photographs" / label / f"{i:02}.png", i)
        for j in range(1 + i % 3 if i >= 20 else 0):
            draw(tmp_path / "sketches" / label / f"{i:02}-{j}.png", 100 * i + j)
    return tmp_path


def photographs(made, **options):
    return ImageFolder(str(made / "photographs"), image_size=8, **options)


def sketches(made, **options):
    return ImageFolder(str(made / "sketches"), image_size=8, **options)


def numbers(data, split):
    """The photographs that a split's samples are of, from their names alone."""
    return {name.rpartition("/")[2][:2] for name in data.ids[split]}


# A list of samples: the class of each and the group, of which some have many.
sample = some.tuples(some.integers(0, 3), some.integers(0, 12))
samples = some.lists(sample, min_size=12, max_size=120)


def of_groups(samples):
    labels = [label for label, _ in samples]
    groups = [f"g{group}" for _, group in samples]
    assume(len({*groups}) >= 4)
    return labels, groups


@few
@given(samples, some.integers(0, 3))
def test_no_group_is_in_two_splits_whatever_the_seed(samples, seed):
    labels, groups = of_groups(samples)
    found = cut({"train": labels}, None, None, seed, groups=groups)
    rows = {split: [i for _, i in places] for split, places in found.items()}
    assert sorted(i for some_rows in rows.values() for i in some_rows) == list(
        range(len(labels))
    )  # nothing is lost where no size is asked for
    where = {split: {groups[i] for i in some} for split, some in rows.items()}
    assert all(where.values())
    assert not where["train"] & where["val"] and not where["test"] & (where["train"] | where["val"])
    assert found == cut({"train": labels}, None, None, seed, groups=groups)
    assert found["test"] == cut({"train": labels}, None, None, seed + 1, groups=groups)["test"]


@few
@given(samples, some.integers(1, 4), some.integers(1, 4), some.integers(0, 3))
def test_sizes_that_are_asked_for_are_exact(samples, train_size, val_size, seed):
    labels, groups = of_groups(samples)
    try:
        found = cut({"train": labels}, train_size, val_size, seed, groups=groups)
    except ValueError as error:
        assert str(error).startswith(("train_size", "val_size", "group_by"))
        return
    assert (len(found["train"]), len(found["val"])) == (train_size, val_size)
    where = [{groups[i] for _, i in found[split]} for split in SPLITS]
    assert sum(map(len, where)) == len(set.union(*where))


@few
@given(samples, some.integers(2, 5), some.booleans(), some.integers(0, 3))
def test_folds_are_disjoint_and_cover_all(samples, count, grouped, seed):
    labels, groups = of_groups(samples)
    assume(len({*groups}) > count)
    given = groups if grouped else None
    tests = []
    for number in range(1, count + 1):
        found = cut({"train": labels}, 1, 1, seed, groups=given, fold=f"{number}/{count}")
        tests.append({i for _, i in found["test"]})
        assert not tests[-1] & {i for split in ("train", "val") for _, i in found[split]}
        if grouped:
            inside = {groups[i] for i in tests[-1]}
            assert not inside & {groups[i] for split in ("train", "val") for _, i in found[split]}
    assert all(tests) and sum(map(len, tests)) == len(labels) and set.union(*tests) == set(range(len(labels)))


@few
@given(some.lists(some.integers(0, 4), min_size=10, max_size=90), some.integers(2, 6), some.integers(1, 3))
def test_folds_hold_each_class_in_proportion(classes, count, size):
    """Groups of one size and one class each: no fold has two groups of a class more than another."""
    groups = [f"g{i}" for i in range(len(classes)) for _ in range(size)]
    labels = [label for label in classes for _ in range(size)]
    bins = dealt(labels, [1 / count] * count, groups, "address")
    for label in {*classes}:
        counts = [sum(1 for b, have in zip(bins, labels, strict=True) if (b, have) == (i, label)) for i in range(count)]
        assert max(counts) - min(counts) in (0, size)
    sizes = [bins.count(i) for i in range(count)]
    assert max(sizes) - min(sizes) in (0, size)


def test_large_groups_of_several_classes_leave_the_classes_in_proportion():
    rng = np.random.RandomState(0)
    groups = [f"g{g}" for g in range(60) for _ in range(1 + g % 7)]
    labels = [int(rng.rand() < 0.2 + 0.6 * (int(group[1:]) % 3 == 0)) for group in groups]
    bins = dealt(labels, [0.2] * 5, groups, "address")
    share = sum(labels) / len(labels)
    for place in range(5):
        mine = [label for label, b in zip(labels, bins, strict=True) if b == place]
        assert abs(len(mine) - len(labels) / 5) <= 2 and abs(sum(mine) / len(mine) - share) < 0.03


@few
@given(samples, some.integers(0, 3), some.sampled_from([None, "2/3"]), some.data())
def test_groups_that_another_role_has_are_in_the_same_split_here(samples, seed, fold, data):
    labels, groups = of_groups(samples)
    known = sorted({*groups})
    split_of = {group: data.draw(some.sampled_from([*SPLITS, UNUSED, None])) for group in known}
    others = [split_of[group] for group in groups]
    try:
        found = cut({"train": labels}, None, None, seed, groups=groups, fold=fold, others=others)
    except ValueError as error:
        assert str(error).startswith(("train_size", "val_size", "group_by", "fold"))
        return
    where = {split: {groups[i] for _, i in found[split]} for split in SPLITS}
    assert sum(map(len, where.values())) == len(set.union(*where.values()))
    assert {group for group, split in split_of.items() if split == "test"} <= where["test"]
    assert not {group for group, split in split_of.items() if split in ("test", "val")} & where["train"]
    assert not {group for group, split in split_of.items() if split in ("val", "train", UNUSED)} & where["test"]


@pytest.mark.parametrize("fold", [None, "1/4", "3/4"])
@pytest.mark.parametrize("kind", [SequentialData, MergedData])
def test_no_sketch_of_a_test_photograph_is_trained_on(made, kind, fold):
    alone = sketches(made, group_by=NUMBER, fold=fold)
    alone.setup()
    target, source = sketches(made, group_by=NUMBER, fold=fold), photographs(made, group_by=NUMBER)
    data = kind(target, source, batch_size=8)
    data.setup()
    assert data.overlaps["found"] == {}  # by which overlap=refuse would have refused
    assert target.ids == alone.ids  # what the source is does not move a sample of the target
    tested, chosen_by = numbers(target, "test"), numbers(target, "val")
    assert len(tested) > 5 and len(chosen_by) > 3
    assert not tested & (numbers(target, "train") | chosen_by | numbers(source, "train") | numbers(source, "val"))
    assert not chosen_by & (numbers(target, "train") | numbers(source, "train"))
    assert tested & numbers(source, "test")  # the photograph itself is in its set's test
    both = kind(photographs(made, group_by=NUMBER, fold=fold), sketches(made, group_by=NUMBER), batch_size=8)
    both.setup()
    assert not numbers(both.data["target"], "test") & numbers(both.data["source"], "train")


def test_without_groups_sketches_of_one_photograph_are_torn_apart(made):
    data = sketches(made)
    data.setup()
    assert numbers(data, "test") & numbers(data, "train")
    grouped = sketches(made, group_by=NUMBER)
    grouped.setup()
    assert data.cutting() == {} and data.fingerprint != grouped.fingerprint
    counts = grouped.cutting()["groups"]
    assert counts["count"] == 60 == sum(counts[split] for split in SPLITS) and counts["left_out"] == 0


def test_published_splits_that_share_groups_are_refused_or_left_out_by_the_rule_for_overlaps(made, tmp_path):
    for i in range(20, 60):
        split = "test" if i < 30 else "train"
        draw(tmp_path / "published" / split / "ab"[i % 2] / f"{i:02}-9.png", 9000 + i)

    def pair(**options):
        source = ImageFolder(str(tmp_path / "published"), image_size=8, group_by=NUMBER)
        data = SequentialData(sketches(made, group_by=NUMBER), source, batch_size=8, **options)
        data.setup()
        return data

    said = r"in source's train share a group with target's test \(train/\w/\d\d-9.png, as \w/\d\d-\d.png\)"
    with pytest.raises(ValueError, match=said):
        pair()
    dropped = pair(overlap="drop")
    assert dropped.overlaps["found"]["source/train"] >= 2
    target, source = (dropped.data[role] for role in ("target", "source"))
    assert not (numbers(target, "test") | numbers(target, "val")) & numbers(source, "train")
    assert len(source.ids["train"]) == len(source.train_dataset) == len(source.groups["train"])


def test_a_published_test_set_keeps_its_groups(tmp_path, caplog):
    for split, of in (("test", range(0, 6)), ("val", range(4, 10)), ("train", range(2, 30))):
        for i in of:
            draw(tmp_path / split / "ab"[i % 2] / f"{i:02}-{split}.png", hash((split, i)) % 2**31)
    data = ImageFolder(str(tmp_path), image_size=8, group_by=NUMBER)
    data.setup()
    held = {split: numbers(data, split) for split in SPLITS}
    assert len(held["test"]) == 6 and held["val"] == {"06", "07", "08", "09"} and len(held["train"]) == 20
    assert data.cutting()["groups"]["left_out"] == 2 + 8
    assert "8 of 28 samples of the published train are left out" in caplog.text
    with pytest.raises(ValueError, match="fold=1/5: this dataset has a published test set, which is never cut; leave"):
        ImageFolder(str(tmp_path), image_size=8, fold="1/5").setup()


def test_a_column_or_a_file_beside_says_the_groups(made, tmp_path):
    rows = [(f"sketches/{path.parent.name}/{path.name}", path) for path in sorted((made / "sketches").rglob("*.png"))]
    table = "".join(f"{name},{path.parent.name},{path.name[:2]}\n" for name, path in rows)
    (made / "table.csv").write_text(f"picture,label,photograph\n{table}")
    by_column = PictureTable(str(made / "table.csv"), image_size=8, group_by="photograph")
    (made / "bare.csv").write_text(table)
    bare = PictureTable(str(made / "bare.csv"), 0, 1, header=False, image_size=8, group_by=2)
    (made / "groups.csv").write_text("group,id\n" + "".join(f"{path.name[:2]},{name}\n" for name, path in rows))
    beside = PictureTable(str(made / "table.csv"), image_size=8, group_by="groups.csv")
    by_name = PictureTable(str(made / "table.csv"), image_size=8, group_by=r"/(\d+)-\d")
    for data in (by_column, bare, beside, by_name):
        data.setup()
        assert data.ids == by_column.ids and data.groups == by_column.groups
    assert set(by_column.groups["test"]) == numbers(by_column, "test")


def test_texts_and_pages_have_columns_too(tmp_path):
    lines = [f"text number {i} of its own,{'ab'[i % 2]},mail{i // 4}" for i in range(80)]
    (tmp_path / "x.csv").write_text("text,label,thread\n" + "\n".join(lines) + "\n")
    data = TextTable(str(tmp_path / "x.csv"), group_by="thread")
    data.setup()
    threads = {split: {(int(name.rpartition(":")[2]) - 2) // 4 for name in data.ids[split]} for split in SPLITS}
    assert sum(map(len, threads.values())) == 20 == len(set.union(*threads.values()))
    (tmp_path / "texts").mkdir()
    for i in range(40):
        (tmp_path / "texts" / f"p{i}.txt").write_text(f"page {i}")
    (tmp_path / "index.csv").write_text(
        "id,label,document\n" + "".join(f"p{i},{'ab'[i % 2]},{i // 2}\n" for i in range(40))
    )
    pages = PageTable(str(tmp_path), inputs=["text"], group_by="document")
    pages.setup()
    held = {split: {int(name[1:]) // 2 for name in pages.ids[split]} for split in SPLITS}
    assert sum(map(len, held.values())) == 20 == len(set.union(*held.values()))


NO_TABLE = r"reads no table with such a column; give a regular expression with one group in parentheses, or a CSV file"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_by": "patient"}, f"group_by=patient: ImageFolder {NO_TABLE}"),
        (
            {"group_by": r"/(\d+)-1"},
            r"finds nothing for 80 of 120 samples \(a/20-0.png, .*, \.\.\.\); set ungrouped=alone",
        ),
        ({"group_by": r"/((\d+))"}, "has 2 groups in parentheses; it must have one"),
        ({"group_by": "/(d"}, "is no regular expression"),
        ({"group_by": "none.csv"}, "group_by=none.csv: there is no such file"),
        ({"group_by": NUMBER, "ungrouped": "never"}, "ungrouped=never: allowed: refuse, alone"),
        ({"ungrouped": "alone"}, "ungrouped=alone: has no effect without group_by"),
        ({"group_by": r"^(\w)/"}, "group_by: the samples are of 1 group, too few to cut"),
        ({"fold": "0/5"}, "fold=0/5: must be i/k with k of at least 2"),
        ({"fold": "6/5"}, "fold=6/5: must be i/k"),
        ({"fold": "1/1"}, "fold=1/1: must be i/k"),
        ({"fold": "2"}, "fold=2: must be i/k"),
        ({"fold": "1/121"}, "fold=1/121: 120 samples are too few for 121 folds"),
        ({"fold": "1/61", "group_by": NUMBER}, "fold=1/61: 60 groups are too few for 61 folds"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(made, options, said):
    with pytest.raises(ValueError, match=said) as caught:
        sketches(made, **options).setup()
    assert "\n" not in str(caught.value)


def test_a_file_beside_is_held_to_its_columns(made, tmp_path):
    for text, said in (
        ("id,label\nx,1\n", r"group_by=.*groups.csv: has no column group; it has id, label"),
        ("id,group\na/20-0.png,1\na/20-0.png,2\n", "line 3 has another group for a/20-0.png than a line before"),
        ("id,group\na/20-0.png,1\n", r"has no group for 119 of 120 samples \(a/20-1.png"),
    ):
        (made / "groups.csv").write_text(text)
        with pytest.raises(ValueError, match=said):
            sketches(made, group_by=str(made / "groups.csv")).setup()
    alone = sketches(made, group_by=str(made / "groups.csv"), ungrouped="alone")
    alone.setup()
    assert alone.cutting()["groups"]["count"] == 120
    other = photographs(made, group_by=r"(none)", ungrouped="alone")
    data = SequentialData(alone, other, batch_size=8)
    data.setup()
    assert not {*alone.all_groups} & {*other.all_groups}
    with pytest.raises(ValueError, match="finds nothing for 60 of 60 samples"):
        photographs(made, group_by=r"(none)").setup()


def test_what_a_split_is_told_by_does_not_depend_on_the_names_of_groups(made):
    for name, prefix in (("one", "x"), ("two", "y")):
        rows = [
            (path.relative_to(made / "sketches").as_posix(), path.name[:2])
            for path in (made / "sketches").rglob("*.png")
        ]
        (made / f"{name}.csv").write_text("id,group\n" + "".join(f"{of},{prefix}{group}\n" for of, group in rows))
    data = [sketches(made, group_by=str(made / f"{name}.csv")) for name in ("one", "two")]
    for one in data:
        one.setup()
    assert data[0].ids == data[1].ids and data[0].fingerprint == data[1].fingerprint


def test_sizes_that_groups_change_are_told(made, caplog):
    def halves(name):
        return "x" if int(name.rpartition("/")[2][:2]) < 50 else name

    ids = [path.relative_to(made / "sketches").as_posix() for path in sorted((made / "sketches").rglob("*.png"))]
    (made / "halves.csv").write_text("id,group\n" + "".join(f"{name},{halves(name)}\n" for name in ids))
    data = sketches(made, group_by="../halves.csv")
    data.setup()
    assert caplog.text == "" and 20 <= len(data.ids["test"]) <= 28  # the large group is in training, the rest suffices
    (made / "two.csv").write_text("id,group\n" + "".join(f"{name},{min(int(name[2:4]) // 20, 3)}\n" for name in ids))
    data = sketches(made, group_by="../two.csv")
    data.setup()
    assert "3 groups stay whole, the largest" in caplog.text and "instead of 24 in test" in caplog.text


def test_the_same_fold_is_tested_whatever_the_seed(made):
    tested = []
    for number in (1, 2, 3):
        of_seed = [sketches(made, fold=f"{number}/3", seed=seed) for seed in (0, 1)]
        for data in of_seed:
            data.setup()
        assert of_seed[0].ids["test"] == of_seed[1].ids["test"] and of_seed[0].ids["val"] != of_seed[1].ids["val"]
        assert of_seed[0].cutting() == {"fold": f"{number}/3"}
        tested += of_seed[0].ids["test"]
        classes = Counter(name[0] for name in of_seed[0].ids["test"])
        assert abs(classes["a"] - 20) <= 1
    assert len(tested) == len({*tested}) == 120


def test_labelled_counts_what_is_outside_of_the_fold(made):
    data = sketches(made, fold="1/2", labelled=59, duplicates="allow")
    data.setup()
    assert len(data.ids["train"]) + len(data.ids["val"]) == 59 and len(data.ids["test"]) == 60
    with pytest.raises(ValueError, match="labelled=61: must be at most"):
        sketches(made, fold="1/2", labelled=61).setup()


def test_arrays_are_grouped_by_a_file_of_their_ids(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (60, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.arange(60) % 2)
    (tmp_path / "patients.csv").write_text("id,group\n" + "".join(f"train/{i},{i // 5}\n" for i in range(60)))
    data = NpzImages(str(tmp_path / "x.npz"), group_by="patients.csv")
    data.setup()
    held = {split: {int(name.partition("/")[2]) // 5 for name in data.ids[split]} for split in SPLITS}
    assert sum(map(len, held.values())) == 12 == len(set.union(*held.values()))


def test_generated_data_have_nothing_to_cut():
    for option in ("fold", "group_by"):
        with pytest.raises(TypeError, match=option):
            Scenes(**{option: "1/5"})


def test_the_words_of_a_fold():
    assert fold_of("2/10") == (2, 10)
    assert groups_of("(x)", ["ax", "b"], dict, None, "alone") == ["x", "None: b"]
