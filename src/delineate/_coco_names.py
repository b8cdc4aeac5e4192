"""The 80 classes of COCO's objects, by rising id; what published detectors of 80 classes predict."""

from __future__ import annotations

CLASSES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator"),
    *("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)

VOC: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of Pascal VOC, in their order; what torchvision's semantic networks predict."""

GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
"""Ids below 91 that no category of COCO's objects has."""

STUFF: tuple[str, ...] = (
    *("banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood"),
    *("flower", "fruit", "gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform"),
    *("playingfield", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs"),
    *("tent", "towel", "wall-brick", "wall-stone", "wall-tile", "wall-wood", "water-other"),
    *("window-blind", "window-other", "tree-merged", "fence-merged", "ceiling-merged"),
    *("sky-other-merged", "cabinet-merged", "table-merged", "floor-other-merged", "pavement-merged"),
    *("mountain-merged", "grass-merged", "dirt-merged", "paper-merged", "food-other-merged"),
    *("building-other-merged", "rock-merged", "wall-other-merged", "rug-merged"),
)
"""The 53 classes of COCO panoptic without objects, by rising id; what detectron2's panoptic networks predict."""
