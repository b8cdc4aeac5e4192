"""``pycocotools.coco``: the index of a COCO annotation file."""

from __future__ import annotations

import copy
import importlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate.compat.pycocotools import mask
from delineate.errors import MissingExtra
from delineate.masks import Masks

Item: TypeAlias = dict[str, Any]

_NO_FILTER: tuple[Any, ...] = ()


class COCO:
    """Annotations, images and categories of one COCO dataset, indexed by id.

    Args:
        annotation_file: Path of a COCO JSON file; None leaves the dataset empty: set ``dataset`` and call
            `createIndex`.

    Attributes:
        dataset: The file's content.
        anns: Annotation id -> annotation; ``imgs`` and ``cats`` likewise.
        imgToAnns: Image id -> its annotations, in the order of the file.
        catToImgs: Category id -> image id of each of its annotations.
    """

    def __init__(self, annotation_file: str | Path | None = None) -> None:
        self.dataset: Item = {}
        self.anns: dict[Any, Item] = {}
        self.cats: dict[Any, Item] = {}
        self.imgs: dict[Any, Item] = {}
        self.imgToAnns: defaultdict[Any, list[Item]] = defaultdict(list)
        self.catToImgs: defaultdict[Any, list[Any]] = defaultdict(list)
        if annotation_file is not None:
            print("loading annotations into memory...")
            start = time.time()
            dataset = json.loads(Path(annotation_file).read_bytes())
            if not isinstance(dataset, dict):
                raise AssertionError(f"annotation file format {type(dataset)} not supported")
            print(f"Done (t={time.time() - start:0.2f}s)")
            self.dataset = dataset
            self.createIndex()

    def createIndex(self) -> None:
        """Fills ``anns``, ``imgs``, ``cats``, ``imgToAnns`` and ``catToImgs`` from ``dataset``."""
        print("creating index...")
        annotations = self.dataset.get("annotations", [])
        by_image, by_category = defaultdict(list), defaultdict(list)
        for annotation in annotations:
            by_image[annotation["image_id"]].append(annotation)
            if "categories" in self.dataset:
                by_category[annotation["category_id"]].append(annotation["image_id"])
        self.anns = {annotation["id"]: annotation for annotation in annotations}
        self.imgs = {image["id"]: image for image in self.dataset.get("images", [])}
        self.cats = {category["id"]: category for category in self.dataset.get("categories", [])}
        self.imgToAnns, self.catToImgs = by_image, by_category
        print("index created!")

    def info(self) -> None:
        """Prints the ``info`` of the file."""
        for key, value in self.dataset["info"].items():
            print(f"{key}: {value}")

    def getAnnIds(
        self,
        imgIds: Any = _NO_FILTER,  # noqa: ANN401 (one id or many, of any type)
        catIds: Any = _NO_FILTER,  # noqa: ANN401
        areaRng: Any = _NO_FILTER,  # noqa: ANN401
        iscrowd: bool | int | None = None,
    ) -> list[Any]:
        """Ids of the annotations that pass all filters; an empty filter lets all pass.

        Args:
            imgIds: One image id or many.
            catIds: One category id or many.
            areaRng: (least, greatest) area in pixels, both excluded.
            iscrowd: Only crowds, or only others.
        """
        images, categories = _listed(imgIds), _listed(catIds)
        if len(images):
            found = [one for image in images for one in self.imgToAnns.get(image, ())]
        else:
            found = self.dataset["annotations"]
        if len(categories):
            wanted = _members(categories)
            found = [one for one in found if one["category_id"] in wanted]
        if len(areaRng):
            found = [one for one in found if areaRng[0] < one["area"] < areaRng[1]]
        return [one["id"] for one in found if iscrowd is None or one["iscrowd"] == iscrowd]

    def getCatIds(
        self,
        catNms: Any = _NO_FILTER,  # noqa: ANN401
        supNms: Any = _NO_FILTER,  # noqa: ANN401
        catIds: Any = _NO_FILTER,  # noqa: ANN401
    ) -> list[Any]:
        """Ids of the categories that pass all filters; an empty filter lets all pass.

        Args:
            catNms: Names. A single str passes the names that it contains, as in pycocotools.
            supNms: Names of supercategories, likewise.
            catIds: One id or many.
        """
        found = self.dataset["categories"]
        for key, values in (("name", catNms), ("supercategory", supNms), ("id", catIds)):
            if len(_listed(values)):
                wanted = _members(_listed(values))
                found = [one for one in found if one[key] in wanted]
        return [one["id"] for one in found]

    def getImgIds(self, imgIds: Any = _NO_FILTER, catIds: Any = _NO_FILTER) -> list[Any]:  # noqa: ANN401
        """Ids of the images among `imgIds` that show every category of `catIds`; empty filters pass all."""
        images, categories = _listed(imgIds), _listed(catIds)
        if not len(images) and not len(categories):
            return list(self.imgs)
        found = set(images)
        for place, category in enumerate(categories):
            shown = set(self.catToImgs.get(category, ()))
            found = shown if place == 0 and not found else found & shown
        return list(found)

    def loadAnns(self, ids: Any = _NO_FILTER) -> list[Item]:  # noqa: ANN401
        """The annotations with these ids (one id or many)."""
        return [self.anns[one] for one in _listed(ids)]

    def loadCats(self, ids: Any = _NO_FILTER) -> list[Item]:  # noqa: ANN401
        """The categories with these ids (one id or many)."""
        return [self.cats[one] for one in _listed(ids)]

    def loadImgs(self, ids: Any = _NO_FILTER) -> list[Item]:  # noqa: ANN401
        """The images with these ids (one id or many)."""
        return [self.imgs[one] for one in _listed(ids)]

    def loadRes(self, resFile: Any) -> COCO:  # noqa: ANN401
        """Results as a `COCO` of their own, with the images and categories of this one.

        As in pycocotools, the given dicts are completed in place (id, area, bbox, iscrowd), and the first one
        decides for all whether they are boxes or masks.

        Args:
            resFile: Path of a results file, a list of results, or (N, 7) numbers: image id, x, y, width,
                height, score, category id.

        Raises:
            IndexError: There are no results.
            AssertionError: They are about images that this dataset does not have.
            NotImplementedError: They are keypoints or captions.
        """
        results = COCO()
        results.dataset["info"] = copy.deepcopy(self.dataset.get("info", {}))
        results.dataset["images"] = list(self.dataset["images"])
        print("Loading and preparing results...")
        start = time.time()
        if isinstance(resFile, str | Path):
            found = json.loads(Path(resFile).read_bytes())
        elif isinstance(resFile, np.ndarray):
            found = self.loadNumpyAnnotations(resFile)
        else:
            found = resFile
        if not isinstance(found, list):
            raise AssertionError("results in not an array of objects")
        if not {one["image_id"] for one in found} <= set(self.getImgIds()):
            raise AssertionError("Results do not correspond to current coco set")
        if not found:
            raise IndexError("loadRes: results must have at least one entry, got none.")
        results.dataset["categories"] = copy.deepcopy(self.dataset["categories"])
        _complete(found)
        print(f"DONE (t={time.time() - start:0.2f}s)")
        results.dataset["annotations"] = found
        results.createIndex()
        return results

    def loadNumpyAnnotations(self, data: NDArray[Any]) -> list[Item]:
        """Box results from (N, 7) numbers: image id, x, y, width, height, score, category id."""
        print("Converting ndarray to lists...")
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 7:
            raise AssertionError(f"data must be an array of shape (N, 7), got {np.shape(data)}.")
        print(data.shape)
        return [
            {"image_id": int(row[0]), "bbox": list(row[1:5]), "score": row[5], "category_id": int(row[6])}
            for row in data
        ]

    def annToRLE(self, ann: Item) -> Item:
        """The compressed run-length dict of an annotation: polygons are filled and united."""
        segmentation = ann["segmentation"]
        if not isinstance(segmentation, list) and not isinstance(segmentation["counts"], list):
            compressed: Item = segmentation
            return compressed
        image = self.imgs[ann["image_id"]]
        height, width = image["height"], image["width"]
        if isinstance(segmentation, list):
            return mask.merge(mask.frPyObjects(segmentation, height, width))
        rle: Item = mask.frPyObjects(segmentation, height, width)
        return rle

    def annToMask(self, ann: Item) -> NDArray[np.uint8]:
        """The bitmap of an annotation: (H, W) uint8, 0 or 1."""
        return mask.decode(self.annToRLE(ann))

    def showAnns(self, anns: list[Item], draw_bbox: bool = False) -> None:
        """Draws annotations on the current axis of matplotlib.

        Args:
            anns: Annotations with a segmentation.
            draw_bbox: Draw the boxes as well.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        if not anns:
            return
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError:
            raise MissingExtra("matplotlib", "matplotlib") from None
        patches, paths = (importlib.import_module(f"matplotlib.{name}") for name in ("patches", "path"))
        axis = pyplot.gca()
        axis.set_autoscale_on(False)
        for ann in anns:
            colour = np.random.default_rng().uniform(0.4, 1.0, 3)
            outlines: list[list[NDArray[Any]]] = []  # each filled at once, so that rings inside are holes
            if isinstance(ann.get("segmentation"), list):
                outlines += [[np.reshape(part, (-1, 2))] for part in ann["segmentation"]]
            elif "segmentation" in ann:
                rings = Masks.from_rle([self.annToRLE(ann)]).to_polygons()[0]
                outlines.append([ring - 0.5 for ring in rings])  # matplotlib counts from a pixel's centre
            if draw_bbox:
                x, y, width, height = ann["bbox"]
                outlines.append(
                    [np.array([[x, y], [x, y + height], [x + width, y + height], [x + width, y]])]
                )
            style = {"facecolor": (*colour, 0.4), "edgecolor": (*colour, 1.0), "linewidth": 2}
            for outline in filter(None, outlines):
                closed = [paths.Path(np.concatenate([ring, ring[:1]]), closed=True) for ring in outline]
                axis.add_patch(patches.PathPatch(paths.Path.make_compound_path(*closed), **style))

    def download(self, tarDir: str | None = None, imgIds: Any = _NO_FILTER) -> NoReturn:  # noqa: ANN401
        """Refused: this package does not reach for the network.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "COCO.download is left out: this package does not reach for the network. The address of each "
            "picture is imgs[id]['coco_url']."
        )


def _complete(results: list[Item]) -> None:
    """Gives each result the keys of an annotation."""
    first = results[0]
    if "caption" in first or not ("bbox" in first or "segmentation" in first):
        raise NotImplementedError(
            f"loadRes: results must have bbox or segmentation, got {', '.join(sorted(first))}. "
            "Captions and keypoints are not supported."
        )
    boxes = bool("bbox" in first and first["bbox"] != [])
    if not boxes:
        segmentations = [one["segmentation"] for one in results]
        areas, tight = mask.area(segmentations), mask.toBbox(segmentations)
    for place, one in enumerate(results):
        if boxes:
            x, y, width, height = one["bbox"]
            right, bottom = x + width, y + height
            one.setdefault("segmentation", [[x, y, x, bottom, right, bottom, right, y]])
            one["area"] = width * height
        else:
            one["area"] = areas[place]
            one.setdefault("bbox", tight[place])
        one["id"] = place + 1
        one["iscrowd"] = 0


def _listed(values: Any) -> Any:  # noqa: ANN401
    return values if hasattr(values, "__iter__") and hasattr(values, "__len__") else [values]


def _members(values: Iterable[Any]) -> Any:  # noqa: ANN401
    # A str stays what it is: asking for a name in it is asking for a part of it, as pycocotools does.
    return values if isinstance(values, str) else set(values)
