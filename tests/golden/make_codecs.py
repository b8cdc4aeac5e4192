"""Writes codecs.json: small masks as label-studio-converter 0.0.59 (Apache-2.0) and cvat-sdk 2.80.0 (MIT) encode them.

Run where both are installed: python make_codecs.py
"""

import json
from pathlib import Path

import numpy as np
from cvat_sdk.masks import encode_mask
from label_studio_converter.brush import decode_rle, encode_rle, mask2rle


def pictures():
    rng = np.random.default_rng(3)
    for share in (0, 0.1, 0.5, 0.9, 1):
        for height, width in ((1, 1), (1, 17), (23, 1), (6, 7)):
            yield rng.random((height, width)) < share
    for height, width in ((40, 60), (70, 110)):
        y, x = np.mgrid[:height, :width]
        disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.4 * height) ** 2
        yield disc
        yield disc & ((y // 8 + x // 8) % 2 == 0)
    yield np.ones((150, 200), bool)  # longer than one field of 16 bits
    corner = np.zeros((90, 110), bool)
    corner[-1, -1] = True
    yield corner


def colours(mask):
    """The bytes of an RGBA picture as Label Studio's canvas has them: a colour, and alpha where painted."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[mask] = (20, 140, 20, 128)
    return rgba.ravel()


entries = []
for mask in pictures():
    rle = mask2rle(mask.astype(np.uint8) * 255)
    coloured = encode_rle(colours(mask))
    assert (decode_rle(coloured).reshape(*mask.shape, 4)[..., 3] > 0).tolist() == mask.tolist()
    entries.append(
        {
            "size": list(mask.shape),
            "bits": np.packbits(mask).tobytes().hex(),
            "label_studio": bytes(rle).hex(),
            "label_studio_colours": bytes(coloured).hex() if mask.size < 3_000 else None,
            "cvat": encode_mask(mask),
        }
    )
Path(__file__).with_name("codecs.json").write_text(json.dumps(entries, separators=(",", ":")) + "\n")
