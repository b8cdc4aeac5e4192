"""A dataset with everything that is hard about formats."""

import json

import numpy as np

from delineate import algebra
from delineate.dataset import Dataset, Record
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (24, 31)


def shapes():
    """(8, 24, 31): a ring, two parts, one pixel, a frame along the border, an overlapping pair, a touching one."""
    dense = np.zeros((8, *SIZE), bool)
    dense[0, 2:9, 2:9] = True
    dense[0, 4:7, 4:7] = False
    dense[1, 12:15, 3:6] = dense[1, 18:22, 5:9] = True
    dense[2, 5, 5] = True
    dense[3, [0, -1]] = dense[3][:, [0, -1]] = True
    dense[4, 3:12, 12:20] = True
    dense[5, 8:16, 15:26] = True
    dense[6, 17:21, 14:18] = True
    dense[7, 17:21, 18:24] = True
    return dense


def nasty(folder, keeps):
    """A dataset with everything that is hard, as far as a format claims to keep it."""
    masks = Masks.from_dense(shapes())
    if "holes" not in keeps:
        masks = algebra.fill_holes(masks[[0, 1, 2, 4, 5, 6, 7]])
    if "parts" not in keeps:
        masks = algebra.largest_component(masks)
    if "overlaps" not in keeps:
        masks = algebra.resolve_overlaps(masks)
    if "empty masks" in keeps:
        masks = Masks.concat([masks, Masks.from_counts([SIZE[0] * SIZE[1]], [0, 1], SIZE)])
    count = len(masks)
    boxes = masks.boxes
    if "boxes" in keeps:
        boxes = boxes + np.float32(0.25) * np.array([0, 0, 1, 1], np.float32)
    extras = {
        "area": np.arange(count) + 0.5,
        "annotation_id": np.arange(count) * 3 + 11,
        "group": np.where(np.arange(count) % 3 == 2, 5, -1),
        "z_order": np.arange(count)[::-1].copy(),
        "attributes": np.array([json.dumps({"note": f"ü{n}"}) if n % 2 else "{}" for n in range(count)]),
    }
    instances = Instances(
        SIZE,
        boxes,
        np.arange(count) % 2,
        np.linspace(0.25, 1, count, dtype=np.float32) if "scores" in keeps else None,
        masks,
        np.arange(count) == 5 if "crowd" in keeps else None,
        np.arange(count) + 1 if "ids" in keeps else None,
        {name: value for name, value in extras.items() if name in keeps},
    )
    scored = "scores" in keeps
    empty = Instances.empty(SIZE, scored=scored)
    records = [_record(folder, "zelle ä 1.png", instances, 7, "train", 0, keeps)]
    if "empty pictures" in keeps:
        records.append(_record(folder, "b.png", empty, 3, "val", 1, keeps))
    once_more = instances[[1]]
    if "annotation_id" in keeps:
        once_more = once_more.replace(extras=once_more.extras | {"annotation_id": [99]})
    records.append(_record(folder, "c.png", once_more, 12, "train", 2, keeps))
    classes = ("ä b", "cell", "unused") if "class order" in keeps else ("ä b", "cell")
    head = {"info": {"year": 2026}, "categories": [{"color": "red"}, *[{}] * (len(classes) - 1)]}
    return Dataset(records, classes, head if "info" in keeps else {})


def _record(folder, name, instances, id_, split, frame, keeps):
    path = folder / name
    write_image(path, np.full((*SIZE, 3), frame * 40, np.uint8))
    attributes = {"weather": "söme"} if "picture attributes" in keeps else {}
    if "videos" not in keeps:
        video = frame = None
    else:
        video = "first"
    return Record(path, SIZE, instances, id_, attributes, video, frame, split if "splits" in keeps else None)
