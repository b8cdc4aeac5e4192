"""Two-stage networks on several pictures: one call for all of them ("delineate"), or one call each ("one by one").

    python benchmarks/batched.py --rounds 3

Weights are random (spread, so that there are many detections), the pictures noise of one size. It is what an exported
file could gain at most by taking several pictures: padding to a common size costs more.
"""

import torch
from turns import Job, options, report

from delineate import models

COUNT = 4


def job(name: str, side: int) -> Job:
    torch.manual_seed(0)
    model = models.build(name).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("cls_score.weight"):
                value.sub_(value.mean(1, keepdim=True)).mul_(20)
    images = torch.rand(COUNT, 3, side, side)

    @torch.inference_mode()
    def together() -> None:
        model(images)

    @torch.inference_mode()
    def one_by_one() -> None:
        for image in images:
            model(image[None])

    return {"delineate": together, "one by one": one_by_one}


def main() -> None:
    chosen = options(__doc__, rounds=3)
    torch.set_num_threads(chosen.threads)
    sizes = {"mask_rcnn-tiny": 320, "mask_rcnn-r50_fpn": 256}
    report({f"{COUNT} pictures, {name}, {side}": job(name, side) for name, side in sizes.items()}, chosen)


if __name__ == "__main__":
    main()
