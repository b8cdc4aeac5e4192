"""Published checkpoints of R-CNN: torchvision's, those of detectron2's model zoo, and those of Swin's authors.

File names of torchvision end in the first digits of the file's SHA-256, those of detectron2 in those of its
MD5; Swin's authors state no checksum. Detectron2's schedules: 1x is 12 epochs of COCO, 3x is 37; what is not
marked is the longer one.
"""

from __future__ import annotations

import re

from delineate.models import Weights

_TORCHVISION = "https://download.pytorch.org/models"
_SWIN = "https://github.com/SwinTransformer/storage/releases/download"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2"


def _digits(file: str) -> str:
    """What the file's name says of its content."""
    found = re.search(r"[-_]([0-9a-f]+)\.\w+$", file)
    return found[1] if found else ""


def _torchvision(file: str, box_ap: float, mask_ap: float | None, megabytes: float) -> Weights:
    """A file of torchvision; it counts megabytes of 2 ** 20 bytes."""
    size = round(megabytes * 2**20)
    return Weights(
        f"{_TORCHVISION}/{file}", f"sha256:{_digits(file)}", "BSD-3-Clause", 80, box_ap, mask_ap, size
    )


def _detectron2(
    file: str, box_ap: float, mask_ap: float | None, megabytes: float | None, variant: str = ""
) -> Weights:
    """A file of detectron2."""
    size = None if megabytes is None else round(megabytes * 1e6)
    url, checksum = f"{_DETECTRON2}/{file}", f"md5:{_digits(file)}"
    return Weights(url, checksum, "CC-BY-SA-3.0", 80, box_ap, mask_ap, size, variant)


def _swin(file: str, box_ap: float, mask_ap: float, variant: str = "") -> Weights:
    """A file of Swin's authors, who state neither size nor checksum."""
    return Weights(f"{_SWIN}/{file}", None, "Apache-2.0", 80, box_ap, mask_ap, None, variant)


_BOXES, _MASKS = "COCO-Detection", "COCO-InstanceSegmentation"
WEIGHTS: dict[str, Weights] = {
    "r50_fpn": _torchvision("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", 37.9, 34.6, 169.84),
    "r50_fpn_v2": _torchvision("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", 47.4, 41.8, 177.219),
    "faster_r50_fpn": _torchvision("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 37.0, None, 159.743),
    "faster_r50_fpn_v2": _torchvision("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 46.7, None, 167.104),
    "r50_fpn_d2": _detectron2(
        f"{_MASKS}/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl", 41.0, 37.2, 177.8
    ),
    "r50_fpn_d2_1x": _detectron2(
        f"{_MASKS}/mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl", 38.6, 35.2, 177.8, "r50_fpn_d2"
    ),
    "r101_fpn": _detectron2(
        f"{_MASKS}/mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl", 42.9, 38.6, 254.0
    ),
    "x101_32x8d_fpn": _detectron2(
        f"{_MASKS}/mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806.pkl", 44.3, 39.5, 431.3
    ),
    "r50_c4": _detectron2(
        f"{_MASKS}/mask_rcnn_R_50_C4_3x/137849525/model_final_4ce675.pkl", 39.8, 34.4, 144.1
    ),
    "r50_c4_1x": _detectron2(
        f"{_MASKS}/mask_rcnn_R_50_C4_1x/137259246/model_final_9243eb.pkl", 36.8, 32.2, 144.1, "r50_c4"
    ),
    "r50_fpn_lsj": _detectron2(
        "new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ/42019571/model_final_14d201.pkl", 47.4, 42.5, 185.8
    ),
    "r50_fpn_lsj_100ep": _detectron2(
        "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ/42047764/model_final_bb69de.pkl",
        44.6,
        40.3,
        185.8,
        "r50_fpn_lsj",
    ),
    "cascade_r50_fpn": _detectron2(
        "Misc/cascade_mask_rcnn_R_50_FPN_3x/144998488/model_final_480dd8.pkl", 44.3, 38.5, 288.4
    ),
    "faster_r50_fpn_d2": _detectron2(
        f"{_BOXES}/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl", 40.2, None, 167.2
    ),
    "faster_r50_fpn_d2_1x": _detectron2(
        f"{_BOXES}/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl",
        37.9,
        None,
        167.2,
        "faster_r50_fpn_d2",
    ),
    "faster_x101_32x8d_fpn": _detectron2(
        f"{_BOXES}/faster_rcnn_X_101_32x8d_FPN_3x/139173657/model_final_68b088.pkl", 43.0, None, 420.7
    ),
    "faster_r50_c4": _detectron2(
        f"{_BOXES}/faster_rcnn_R_50_C4_3x/137849393/model_final_f97cb7.pkl", 38.4, None, 134.8
    ),
    "faster_r50_c4_1x": _detectron2(
        f"{_BOXES}/faster_rcnn_R_50_C4_1x/137257644/model_final_721ade.pkl",
        35.7,
        None,
        134.8,
        "faster_r50_c4",
    ),
    "cascade_swin_b": _detectron2(
        "ViTDet/COCO/cascade_mask_rcnn_swin_b_in21k/f342979038/model_final_246a82.pkl", 53.9, 46.2, None
    ),
    "cascade_swin_l": _detectron2(
        "ViTDet/COCO/cascade_mask_rcnn_swin_l_in21k/f342979186/model_final_7c897e.pkl", 55.0, 47.2, None
    ),
    "swin_t": _swin("v1.0.2/mask_rcnn_swin_tiny_patch4_window7.pth", 46.0, 41.6),
    "swin_t_1x": _swin("v1.0.3/mask_rcnn_swin_tiny_patch4_window7_1x.pth", 43.7, 39.8, "swin_t"),
    "swin_s": _swin("v1.0.2/mask_rcnn_swin_small_patch4_window7.pth", 48.5, 43.3),
    "cascade_swin_t_giou": _swin("v1.0.2/cascade_mask_rcnn_swin_tiny_patch4_window7.pth", 50.4, 43.7),
    "cascade_swin_t_giou_1x": _swin(
        "v1.0.3/cascade_mask_rcnn_swin_tiny_patch4_window7_1x.pth", 48.1, 41.7, "cascade_swin_t_giou"
    ),
    "cascade_swin_s_giou": _swin("v1.0.2/cascade_mask_rcnn_swin_small_patch4_window7.pth", 51.9, 45.0),
    "cascade_swin_b_giou": _swin("v1.0.2/cascade_mask_rcnn_swin_base_patch4_window7.pth", 51.9, 45.0),
}
