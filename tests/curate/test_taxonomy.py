import pytest

from delineate.curate.taxonomy import Rules, Taxonomy, merge, read_taxonomy
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.instances import Instances

TEXT = """
classes = ["person", "rider", "vehicle"]

[datasets.street]
map = { human = "person", car = "vehicle", truck = "vehicle" }
drop = ["lamp post"]
ambiguous = { "human on bike" = ["person", "rider"] }

[datasets.coco]
same = true
drop = "rest"
"""
STREET = ("car", "human", "human on bike", "lamp post", "truck")
SIZE = (4, 6)


def dataset(classes, ids=(1,), **changes):
    boxes = [[n, 0, n + 1, 2] for n in range(len(classes))]
    found = Instances(SIZE, boxes, range(len(classes)), **changes)
    return Dataset([Record(None, SIZE, found, n, {"from": n}) for n in ids], classes)


@pytest.fixture
def taxonomy(tmp_path):
    (tmp_path / "t.toml").write_text(TEXT)
    return read_taxonomy(tmp_path / "t.toml")


def test_classes_are_mapped_merged_dropped_and_doubted(taxonomy):
    found = merge({"street": dataset(STREET), "coco": dataset(("rider", "cat"), (2,))}, taxonomy)
    assert found.classes == ("person", "rider", "vehicle")
    street, coco = (record.instances for record in found)
    assert street.labels.tolist() == [2, 0, 0, 1, 2]
    assert street.boxes[:, 0].tolist() == [0, 1, 2, 2, 4], "the doubtful one twice, the lamp post not at all"
    assert street.crowd.tolist() == [False, False, True, True, False]
    assert coco.labels.tolist() == [1]
    assert coco.crowd is None
    assert [record.id for record in found] == [1, 2]
    assert dict(found[0].attributes) == {"from": 1, "dataset": "street"}


def test_crowds_stay_crowds(taxonomy):
    found = merge({"street": dataset(STREET, crowd=[True, False, False, False, False])}, taxonomy)
    assert found[0].instances.crowd.tolist() == [True, False, True, True, False]


def test_equal_ids_are_told_apart_and_videos_too():
    one = dataset(("a", "b"))
    frame = one[0].replace(video="v", frame=0)
    found = merge({"x": one.with_records([frame]), "y": dataset(("b", "c"))})
    assert [record.id for record in found] == ["x/1", "y/1"]
    assert found[0].video == "x/v"
    assert found.classes == ("a", "b", "c")
    assert [record.instances.labels.tolist() for record in found] == [[0, 1], [1, 2]]
    assert merge({}).classes == ()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules(map={"car": "vehicle"}), "must say what becomes of every class, got nothing for 'cat'"),
        (Rules(map={"dog": "vehicle"}, drop="rest"), "must speak of classes of the dataset, got 'dog'"),
        (Rules(map={"car": "vehicle"}, drop=["car", "cat"]), "must name each class once, got 'car'"),
        (Rules(map={"car": "animal"}, drop="rest"), "must map to universal classes, got 'animal'"),
        (Rules(ambiguous={"car": ["animal"]}, drop="rest"), "must map to universal classes, got 'animal'"),
    ],
)
def test_rules_that_do_not_fit_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        merge({"x": dataset(("car", "cat"))}, Taxonomy(["vehicle"], {"x": rules}))


def test_a_dataset_without_rules_is_refused(taxonomy):
    with pytest.raises(ValueError, match="rules for every dataset, got 'x', not one of street, coco"):
        merge({"x": dataset(("car",))}, taxonomy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes = [", "file must be TOML"),
        ("classes = [1]\n[datasets]", r"classes\[0\]: Expected `str`, got `int`"),
        ("classes = []", "missing required field `datasets`"),
        ("classes = []\n[datasets.a]\nmapp = {}", "datasets.*unknown field `mapp`"),
    ],
)
def test_files_that_are_no_taxonomy_are_refused(tmp_path, text, message):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_taxonomy(tmp_path / "t.toml")
    with pytest.raises(FormatError, match="file must be readable"):
        read_taxonomy(tmp_path / "nothing.toml")
