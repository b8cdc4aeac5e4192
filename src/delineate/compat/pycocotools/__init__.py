"""pycocotools' names, arrays and dictionaries on the native core of this package.

``from delineate.compat.pycocotools.coco import COCO`` instead of ``from pycocotools.coco import COCO`` is the
whole change; ``cocoeval`` and ``mask`` likewise. Left out, with a message: keypoints and downloads.
"""

from __future__ import annotations

from delineate.compat.pycocotools import coco, cocoeval, mask

__all__ = ["coco", "cocoeval", "mask"]
