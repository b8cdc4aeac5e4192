"""``pycocotools.cocoeval``: COCO's average precision step by step, equal to pycocotools to the last bit.

For one call from datasets to numbers see `delineate.metrics.evaluate`, which is faster still.
"""

from __future__ import annotations

import copy
import datetime
import time
from collections import defaultdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.compat.pycocotools import mask
from delineate.compat.pycocotools.coco import COCO
from delineate.masks import Masks

Item: TypeAlias = dict[str, Any]
Floats: TypeAlias = NDArray[np.float64]


class Params:
    """What is evaluated, and how.

    Args:
        iouType: "segm" (masks) or "bbox" (boxes).

    Attributes:
        imgIds: Image ids; ``catIds`` category ids.
        iouThrs: (T,) IoU thresholds.
        recThrs: (R,) recall levels.
        maxDets: (M) limits on the detections of a category in an image.
        areaRng: (A) [least, greatest] area in pixels; ``areaRngLbl`` their names.
        useCats: 0 to pool all categories.
    """

    def __init__(self, iouType: str = "segm") -> None:
        if iouType == "keypoints":
            raise NotImplementedError("iouType must be 'segm' or 'bbox', got 'keypoints': not supported.")
        if iouType not in ("segm", "bbox"):
            raise ValueError(f"iouType must be 'segm' or 'bbox', got {iouType!r}.")
        self.setDetParams()
        self.iouType = iouType
        self.useSegm: int | None = None

    def setDetParams(self) -> None:
        """The usual values for masks and boxes."""
        self.imgIds: list[Any] = []
        self.catIds: list[Any] = []
        self.iouThrs: Any = np.linspace(0.5, 0.95, 10)
        self.recThrs: Any = np.linspace(0.0, 1.0, 101)
        self.maxDets: list[int] = [1, 10, 100]
        self.areaRng: list[Any] = [[0, 1e10], [0, 1024], [1024, 9216], [9216, 1e10]]
        self.areaRngLbl: list[str] = ["all", "small", "medium", "large"]
        self.useCats = 1


class COCOeval:
    """Evaluates detections against truth: `evaluate`, `accumulate`, `summarize`, in that order.

    Args:
        cocoGt: The truth.
        cocoDt: The detections, from ``cocoGt.loadRes``.
        iouType: "segm" (masks) or "bbox" (boxes).

    Attributes:
        params: A `Params`; change it before `evaluate`.
        ious: (image id, category id) -> (D, G) IoU, detections by falling score.
        evalImgs: Matches of each category, area range and image, in that order; None where nothing is.
        eval: After `accumulate`: precision (T, R, K, A, M), recall (T, K, A, M), scores, counts, params, date.
        stats: After `summarize`: (12,) float64.
    """

    def __init__(self, cocoGt: COCO | None = None, cocoDt: COCO | None = None, iouType: str = "segm") -> None:
        self.cocoGt: Any = cocoGt
        self.cocoDt: Any = cocoDt
        self.params = Params(iouType)
        self.evalImgs: Any = defaultdict(list)
        self.eval: Item = {}
        self.ious: dict[Any, Any] = {}
        self.stats: Any = []
        self._paramsEval: Any = {}
        self._gts: defaultdict[Any, list[Item]] = defaultdict(list)
        self._dts: defaultdict[Any, list[Item]] = defaultdict(list)
        if cocoGt is not None:
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())

    def evaluate(self) -> None:
        """Matches the detections of every image and category; fills ``ious`` and ``evalImgs``."""
        start = time.time()
        print("Running per image evaluation...")
        p = self.params
        if p.useSegm is not None:
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
            print(f"useSegm (deprecated) is not None. Running {p.iouType} evaluation")
        print(f"Evaluate annotation type *{p.iouType}*")
        p.imgIds = list(np.unique(p.imgIds))
        if p.useCats:
            p.catIds = list(np.unique(p.catIds))
        p.maxDets = sorted(p.maxDets)
        self._prepare()
        categories = p.catIds if p.useCats else [-1]
        self.ious = {(image, category): [] for image in p.imgIds for category in categories}
        self.evalImgs = [None] * (len(categories) * len(p.areaRng) * len(p.imgIds))
        ranks = {category: k for k, category in enumerate(categories)}
        places = {image: i for i, image in enumerate(p.imgIds)}
        # Most cells of an image and a category are empty.
        filled = {(image, key if p.useCats else -1) for image, key in (*self._gts, *self._dts)}
        for i, k in sorted((places[i], ranks[k]) for i, k in filled if i in places and k in ranks):
            image, category = p.imgIds[i], categories[k]  # numpy's numbers, as in pycocotools
            self.ious[image, category] = self.computeIoU(image, category)
            for a, one in enumerate(self._match(image, category, p.areaRng, p.maxDets[-1])):
                self.evalImgs[(k * len(p.areaRng) + a) * len(p.imgIds) + i] = one
        self._paramsEval = copy.deepcopy(p)
        print(f"DONE (t={time.time() - start:0.2f}s).")

    def _prepare(self) -> None:
        p = self.params
        wanted = {"imgIds": p.imgIds, "catIds": p.catIds} if p.useCats else {"imgIds": p.imgIds}
        known, found = (side.loadAnns(side.getAnnIds(**wanted)) for side in (self.cocoGt, self.cocoDt))
        if p.iouType == "segm":
            _compress(known, self.cocoGt)
            _compress(found, self.cocoDt)
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        for truth in known:
            truth["ignore"] = "iscrowd" in truth and truth["iscrowd"]
            self._gts[truth["image_id"], truth["category_id"]].append(truth)
        for detection in found:
            self._dts[detection["image_id"], detection["category_id"]].append(detection)
        self.evalImgs = defaultdict(list)
        self.eval = {}

    def _cell(self, image: Any, category: Any, limit: int) -> tuple[list[Item], list[Item]]:  # noqa: ANN401
        """Truths in the order of the file, and the best detections first."""
        categories = (category,) if self.params.useCats else self.params.catIds
        truths = [one for key in categories for one in self._gts.get((image, key), ())]
        found = [one for key in categories for one in self._dts.get((image, key), ())]
        if len(found) > 1:
            order = np.argsort([-one["score"] for one in found], kind="stable")
            found = [found[place] for place in order]
        return truths, found[:limit]

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: ANN401
        """(D, G) IoU of an image and category, detections by falling score; a list where D or G is 0."""
        truths, found = self._cell(imgId, catId, self.params.maxDets[-1])
        if not truths and not found:
            return []
        key = "segmentation" if self.params.iouType == "segm" else "bbox"
        crowd = [int(one["iscrowd"]) for one in truths]
        return mask.iou([one[key] for one in found], [one[key] for one in truths], crowd)

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> Item | None:  # noqa: ANN401
        """The matches of one image, category and area range; None where nothing is."""
        return next(iter(self._match(imgId, catId, [aRng], maxDet)), None)

    def _match(self, image: Any, category: Any, ranges: Any, limit: int) -> list[Item]:  # noqa: ANN401
        """One entry of ``evalImgs`` for each area range; none where the cell is empty."""
        truths, found = self._cell(image, category, limit)
        if not truths and not found:
            return []
        ious = self.ious[image, category]
        shape = (len(found), len(truths))
        overlaps = np.ascontiguousarray(ious, np.float64)[: len(found)] if len(ious) else np.zeros(shape)
        order, ignored, truth_matches, matches, dropped = _core.match_cell(
            _column(truths, "id", np.float64),
            _column(truths, "area", np.float64),
            np.array([bool(int(one["iscrowd"])) for one in truths], np.uint8),
            np.array([bool(one["ignore"]) for one in truths], np.uint8),
            _column(found, "id", np.float64),
            _column(found, "area", np.float64),
            overlaps.reshape(shape),
            np.ascontiguousarray(self.params.iouThrs, np.float64),
            np.array(ranges, np.float64).reshape(-1, 2),
        )
        return [
            {
                "image_id": image,
                "category_id": category,
                "aRng": span,
                "maxDet": limit,
                "dtIds": [one["id"] for one in found],
                "gtIds": [truths[place]["id"] for place in order[a]],
                "dtMatches": matches[a],
                "gtMatches": truth_matches[a],
                "dtScores": [one["score"] for one in found],
                # Without truths pycocotools has an empty array of floats here.
                "gtIgnore": ignored[a] if truths else np.zeros(0),
                "dtIgnore": dropped[a].view(np.bool_),
            }
            for a, span in enumerate(ranges)
        ]

    def accumulate(self, p: Params | None = None) -> None:
        """Precision and recall over all images; fills ``eval``.

        Args:
            p: Other parameters than those of `evaluate`: a leading part of its categories and area ranges.
        """
        print("Accumulating evaluation results...")
        start = time.time()
        if not self.evalImgs:
            print("Please run evaluate() first")
        p = self.params if p is None else p
        p.catIds = p.catIds if p.useCats == 1 else [-1]
        counts = [len(p.iouThrs), len(p.recThrs), len(p.catIds), len(p.areaRng), len(p.maxDets)]
        precision, recall, scores = -np.ones(counts), -np.ones((counts[0], *counts[2:])), -np.ones(counts)
        seen = self._paramsEval
        seen_areas = set(map(tuple, seen.areaRng))
        images = len(seen.imgIds)
        seen_images = set(seen.imgIds)
        chosen = [n for n, image in enumerate(p.imgIds) if image in seen_images]
        categories = set(seen.catIds if seen.useCats else [-1])
        # Results lie where the counted categories and areas have their place, as in pycocotools.
        for k, k0 in enumerate(n for n, one in enumerate(p.catIds) if one in categories):
            for a, a0 in enumerate(n for n, one in enumerate(p.areaRng) if tuple(one) in seen_areas):
                first = (k0 * len(seen.areaRng) + a0) * images
                cells = [self.evalImgs[first + n] for n in chosen]
                cells = [cell for cell in cells if cell is not None]
                if not cells:
                    continue
                for m, limit in enumerate(one for one in p.maxDets if one in set(seen.maxDets)):
                    curves = _curves(cells, limit, np.asarray(p.recThrs))
                    if curves is not None:
                        precision[:, :, k, a, m], recall[:, k, a, m], scores[:, :, k, a, m] = curves
        self.eval = {
            "params": p,
            "counts": counts,
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            "precision": precision,
            "recall": recall,
            "scores": scores,
        }
        print(f"DONE (t={time.time() - start:0.2f}s).")

    def summarize(self) -> None:
        """Prints the 12 lines and fills ``stats``; made for three limits on detections."""
        if not self.eval:
            raise RuntimeError("Please run accumulate() first")
        low, middle, high = self.params.maxDets[:3]
        rows: list[tuple[int, float | None, str, int]] = [(1, None, "all", 100)]
        rows += [(1, 0.5, "all", high), (1, 0.75, "all", high)]
        rows += [(1, None, name, high) for name in ("small", "medium", "large")]
        rows += [(0, None, "all", limit) for limit in (low, middle, high)]
        rows += [(0, None, name, high) for name in ("small", "medium", "large")]
        self.stats = np.array([self._row(*row) for row in rows], np.float64)

    def _row(self, precise: int, threshold: float | None, area: str, limit: int) -> float:
        p = self.params
        areas = [n for n, name in enumerate(p.areaRngLbl) if name == area]
        limits = [n for n, one in enumerate(p.maxDets) if one == limit]
        values = self.eval["precision" if precise else "recall"]
        if threshold is not None:
            values = values[np.flatnonzero(np.asarray(p.iouThrs) == threshold)]
        values = values[..., areas, limits]
        values = values[values > -1]
        mean = float(np.mean(values)) if values.size else -1
        title, kind = ("Average Precision", "(AP)") if precise else ("Average Recall", "(AR)")
        span = f"{p.iouThrs[0]:0.2f}:{p.iouThrs[-1]:0.2f}" if threshold is None else f"{threshold:0.2f}"
        print(f" {title:<18} {kind} @[ IoU={span:<9} | area={area:>6s} | maxDets={limit:>3d} ] = {mean:0.3f}")
        return mean


def _compress(annotations: list[Item], coco: COCO) -> None:
    """Puts compressed run-length dicts in the place of all segmentations, image by image."""
    images = defaultdict(list)
    for one in annotations:
        segmentation = one["segmentation"]
        if isinstance(segmentation, list) and segmentation and len(segmentation[0]) > 4:
            images[one["image_id"]].append(one)
        else:
            one["segmentation"] = coco.annToRLE(one)
    for image, items in images.items():
        size = coco.imgs[image]["height"], coco.imgs[image]["width"]
        masks = Masks.from_polygons(
            [[p[: len(p) // 2 * 2] for p in one["segmentation"]] for one in items], size
        )
        for one, rle in zip(items, masks.to_rle(), strict=True):
            one["segmentation"] = {"size": rle["size"], "counts": rle["counts"].encode("ascii")}


def _column(items: list[Item], key: str, dtype: type) -> NDArray[Any]:
    return np.array([one[key] for one in items], dtype)


def _curves(cells: list[Item], limit: int, levels: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Precision (T, R), recall (T,) and scores (T, R) of one category; None without truth."""
    positives = sum(int(np.count_nonzero(cell["gtIgnore"] == 0)) for cell in cells)
    if positives == 0:
        return None
    scores = np.concatenate([cell["dtScores"][:limit] for cell in cells])
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    matched, ignored = (
        np.concatenate([cell[key][:, :limit] for cell in cells], axis=1)[:, order] != 0
        for key in ("dtMatches", "dtIgnore")
    )
    hits = np.cumsum(matched & ~ignored, axis=1).astype(np.float64)
    misses = np.cumsum(~matched & ~ignored, axis=1).astype(np.float64)
    recall = hits / positives
    precision = hits / (misses + hits + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    shape = (len(matched), len(levels))
    at_levels, score_levels = np.zeros(shape), np.zeros(shape)
    count = len(scores)
    for t in range(len(matched)):
        places = np.searchsorted(recall[t], levels, side="left")
        # Levels from the first unreached one on stay 0, whatever their order.
        reached = int(np.argmax(places >= count)) if (places >= count).any() else len(places)
        at_levels[t, :reached] = envelope[t, places[:reached]]
        score_levels[t, :reached] = scores[places[:reached]]
    return at_levels, recall[:, -1] if count else np.zeros(len(matched)), score_levels
