"""What every pixel is, from files to the targets of a network: the segments and their map move together."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

import landscapes  # noqa: E402
from synthetic import nuclei_dataset  # noqa: E402

from delineate import models  # noqa: E402
from delineate.errors import FormatError  # noqa: E402
from delineate.formats import coco, coco_panoptic  # noqa: E402
from delineate.instances import Instances  # noqa: E402
from delineate.masks import Masks  # noqa: E402
from delineate.metrics.semantic import UNKNOWN  # noqa: E402
from delineate.modelfile import Preprocess  # noqa: E402
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord  # noqa: E402
from delineate.train import load_config, truth  # noqa: E402
from delineate.train.data import Pictures, batches, to_tensors, whole  # noqa: E402
from delineate.train.truth import check_classes, check_trainable  # noqa: E402
from delineate.transforms import Augment, augment  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    landscapes.write(folder, "train", 4, size=(48, 64), first=1)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nuclei_dataset(tmp_path_factory.mktemp("pictures"), count=5)


def read(folder, model, *overrides):
    config = load_config(overrides=[f"data.root='{folder}'", "data.train=train.json", *overrides])
    return truth.read(config, models.build(model))


def pictures(folder, model):
    learnt, _ = read(folder, model)
    return Pictures(learnt.dataset, 1.0, roles=learnt.roles)


def expected(number, *, things=0):
    """Things are 0, stuff counts from 1 in the order of the classes, void is unknown."""
    _, drawn = landscapes.scene(1 + number, (48, 64))
    stuff = [name for name, thing in zip(landscapes.CLASSES, landscapes.THINGS, strict=True) if not thing]
    values = {0: UNKNOWN}
    for id_, label, thing in zip(drawn.ids, drawn.labels, drawn.things, strict=True):
        values[id_] = things if thing else 1 + stuff.index(landscapes.CLASSES[label])
    return np.vectorize(values.get)(drawn.map), drawn


def test_things_are_zero_and_stuff_counts_from_one(folder):
    learnt, none = read(folder, "panoptic_fpn-test")
    assert none is None
    assert learnt.classes == ("house", "tree", "ball")
    assert learnt.stuff == ("meadow", "sky", "water", "road")
    found = pictures(folder, "panoptic_fpn-test")
    for number in range(4):
        _, target = to_tensors(found[number], found.roles)
        want, drawn = expected(number)
        assert np.array_equal(target.semantic.numpy(), want)
        single = drawn.things & ~drawn.crowd
        assert len(target.labels) == single.sum()
        names = [learnt.classes[label] for label in target.labels.tolist()]
        assert names == [landscapes.CLASSES[label] for label in drawn.labels[single]]
        assert target.masks == drawn.to_instances().masks[~drawn.crowd[drawn.things]]


def test_every_class_counts_for_a_semantic_network(folder):
    learnt, _ = read(folder, "fcn-test")
    assert learnt.classes == landscapes.CLASSES
    found = pictures(folder, "fcn-test")
    _, target = to_tensors(found[1], found.roles)
    _, drawn = expected(1)
    labels = np.append(-2, drawn.labels)
    assert np.array_equal(target.semantic.numpy(), labels[drawn.map] + 1)


def test_a_class_called_background_is_the_background(tmp_path):
    made = Panoptic([[1, 2, 0]], [1, 2], [0, 1], [False, False])
    data = PanopticDataset([PanopticRecord(None, (1, 3), made, 1)], ["Background", "cell"], [False, False])
    roles = truth._semantic(data, tmp_path)
    assert roles.classes == ("cell",)
    assert roles.semantic(roles.regions(made)).tolist() == [[0, 1, UNKNOWN]]


def test_objects_of_a_coco_file_teach_classes_of_pixels(dataset, tmp_path):
    """Crowds have a class, too; what nothing covers is background."""
    masks = Masks.from_dense(np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], bool))
    roles = truth._flat(("a", "b"))
    objects = Instances.of(masks, [0, 1], crowd=[False, True])
    assert roles.semantic(roles.regions(objects)).tolist() == [[1, 1, 2, 0]]
    coco.write(dataset, tmp_path / "train.json")
    learnt, _ = read(tmp_path, "fcn-test")
    assert (learnt.classes, learnt.roles.rest) == (("nucleus",), 0)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_the_map_moves_with_the_masks(folder, mosaic):
    """After any augmentation every object lies on pixels of things, and no two segments share a pixel."""
    found = pictures(folder, "panoptic_fpn-test")
    config = Augment(mosaic=mosaic, copy_paste=1.0, min_area=4)
    kinds = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        count = 4 if mosaic else 2
        image, regions = augment([found[n % 4] for n in range(count)], (40, 40), config, rng)
        stuff = regions[regions.crowd]
        assert stuff.masks.union().areas.sum() == stuff.masks.areas.sum()
        _, target = to_tensors((image, regions), found.roles)
        values = target.semantic.numpy()
        assert values.shape == (40, 40)
        assert (values[target.masks.union().to_dense()[0]] == 0).all()
        for label in range(3, 7):
            own = stuff.masks[stuff.labels == label]
            if len(own):
                painted = own.union().to_dense()[0] & ~target.masks.union().to_dense()[0]
                painted &= values != 0  # a cut object may lie over it
                assert (values[painted] == label - 2).all()
        kinds |= set(np.unique(values).tolist())
    assert kinds == {UNKNOWN, 0, 1, 2, 3, 4}


def test_windows_beyond_the_picture_are_unknown(folder):
    found = pictures(folder, "panoptic_fpn-test")
    config = Augment(mosaic=0.0, copy_paste=0.0, scale=(0.25, 0.25), flip=0.0, rotate90=False)
    image, regions = augment([found[0]], (48, 64), config, np.random.default_rng(0))
    _, target = to_tensors((image, regions), found.roles)
    assert (target.semantic != UNKNOWN).float().mean() < 0.07  # a sixteenth


def test_what_a_window_cuts_is_no_object_but_still_a_thing(folder):
    found = pictures(folder, "panoptic_fpn-test")
    config = Augment(mosaic=0.0, copy_paste=0.0, scale=(1.0, 1.0), min_area=10**6, flip=0.0, rotate90=False)
    _, target = to_tensors(augment([found[2]], (48, 64), config, np.random.default_rng(0)), found.roles)
    assert len(target.labels) == 0
    assert (target.semantic == 0).any()


def test_whole_pictures_and_batches_of_several_sizes(folder):
    found = pictures(folder, "panoptic_fpn-test")
    view = Preprocess(rule="shortest", size=(30, 100), multiple=32)
    _, target = whole(found[0], view, 1, found.roles)
    want, drawn = expected(0)
    assert target.semantic.shape == (32, 64)
    assert (target.semantic[30:] == UNKNOWN).all()
    assert (target.semantic[:, 40:] == UNKNOWN).all()
    small = drawn.to_instances(stuff=True).masks.resize((30, 40)).to_dense()
    for mask, id_ in zip(small, drawn.ids, strict=True):
        assert (target.semantic[:30, :40].numpy()[mask] == want[drawn.map == id_][0]).all()
    settings = load_config(overrides=["sides=[24, 48]", "batch=4", "augment.rotate90=false"])
    (batch,) = batches(found, settings, 0, Preprocess(multiple=32))
    height, width = batch.images.shape[2:]
    for target in batch.targets:
        assert target.semantic.shape == (height, width)
        assert (target.semantic[target.size[0] :] == UNKNOWN).all()
        assert (target.semantic[:, target.size[1] :] == UNKNOWN).all()


def test_networks_and_data_must_fit(folder, dataset, tmp_path):
    coco.write(dataset, tmp_path / "train.json")
    with pytest.raises(
        FormatError, match="what every pixel is, as COCO panoptic files and Cityscapes do. Train mask_rcnn"
    ):
        read(tmp_path, "panoptic_fpn-test")
    with pytest.raises(FormatError, match="yolo_seg learns objects: .*Train panoptic_fpn or fcn"):
        read(folder, "yolo_seg-test")


@pytest.mark.parametrize(
    ("things", "message"), [(True, "no stuff. Train mask_rcnn"), (False, "no things. Train fcn")]
)
def test_one_kind_alone_is_refused(tmp_path, things, message):
    landscapes.write(tmp_path, "train", 1, size=(16, 16))
    known = coco_panoptic.read(tmp_path / "train.json")
    one = known[0]
    made = one.read()
    flat = Panoptic(made.map, made.ids, made.labels, np.full(len(made), things))
    record = PanopticRecord(one.path, one.size, flat, 1)
    data = PanopticDataset([record], known.classes, [things] * len(known.classes))
    coco_panoptic.write(data, tmp_path / "train.json")
    with pytest.raises(FormatError, match=message):
        read(tmp_path, "panoptic_fpn-test")


def test_other_classes_in_the_validation_set_are_refused(folder, tmp_path):
    known = coco_panoptic.read(folder / "train.json")
    other = PanopticDataset(known.records, known.classes, [not thing for thing in known.things])
    records = [
        PanopticRecord(r.path, r.size, Panoptic(p.map, p.ids, p.labels, ~p.things), r.id)
        for r, p in ((r, r.read()) for r in known)
    ]
    coco_panoptic.write(PanopticDataset(records, other.classes, other.things), tmp_path / "val.json")
    with pytest.raises(FormatError, match=r"must be those of the training set.*'road \(stuff\)'"):
        read(folder, "panoptic_fpn-test", f"data.val={tmp_path / 'val.json'}")


def test_unusable_datasets_are_refused(dataset, tmp_path):
    with pytest.raises(FormatError, match="at least one picture"):
        check_trainable(dataset[:0], "a.json")
    empty = dataset.with_records(r.replace(instances=r.instances[:0]) for r in dataset)
    with pytest.raises(FormatError, match="none of the 5 pictures"):
        check_trainable(empty, "a.json")
    gone = dataset.with_records([*dataset[:4], dataset[4].replace(path=tmp_path / "gone.png")])
    with pytest.raises(FormatError, match=r"1 of 5 pictures do not exist, the first is .*gone.png"):
        check_trainable(gone, "a.json")
    boxes = dataset.with_records(r.replace(instances=r.instances.replace(masks=None)) for r in dataset)
    with pytest.raises(FormatError, match="must have masks"):
        check_trainable(boxes, "a.json")
    with pytest.raises(FormatError, match=r"\['nucleus'\], got \['cell'\]"):
        check_classes(("nucleus",), ("cell",), "val.json")
