"""Pairs of networks under the names of others."""

import numpy as np
import pytest

from delineate._prompt_signatures import Decoder, Encoder
from delineate.errors import RuntimeFailure
from delineate.prompt import PromptPredictor
from delineate.runtimes import Port


class Fake:
    """A network that gives what it is told and remembers what it got."""

    def __init__(self, inputs, outputs):
        self.inputs = tuple(Port(name, shape, kind) for name, (shape, kind) in inputs.items())
        self.outputs = tuple(Port(name, value.shape, str(value.dtype)) for name, value in outputs.items())
        self.given = outputs

    def __call__(self, arrays):
        assert {name: str(value.dtype) for name, value in arrays.items()} == {
            port.name: port.dtype for port in self.inputs
        }
        self.got = arrays
        return self.given


def zeros(*shape):
    return np.zeros(shape, np.float32)


IMAGE = {"image": ((1, 3, 32, 32), "float32")}
FEATURES = {"high_res_feats_0": zeros(1, 1, 8, 8), "feats_1": zeros(1, 2, 4, 4), "embed": zeros(1, 8, 2, 2)}
POINTS = {
    "point_coords": ((None, None, 2), "float32"),
    "point_labels": ((None, None), "int32"),
    "input_masks": ((None, 1, 8, 8), "float32"),
    "has_input_masks": ((1,), "float32"),
}
SCENE = {name: (value.shape, "float32") for name, value in FEATURES.items()}
LOGITS = np.arange(-96, 96, dtype=np.float32).reshape(1, 3, 8, 8)
IOUS = np.float32([[0.1, 0.7, 0.3]])


def asked(found):
    return {
        **found,
        "point_coords": zeros(1, 2, 2),
        "point_labels": zeros(1, 2),
        "mask_input": zeros(1, 1, 8, 8),
        "has_mask_input": zeros(1),
        "orig_im_size": zeros(2),
    }


def test_three_candidates_get_the_best_as_the_single_mask():
    encoder = Encoder(Fake(IMAGE, FEATURES))
    found = encoder({"images": zeros(1, 3, 32, 32)})
    assert (encoder.side, list(found)) == (32, ["image_embeddings", "high_res_feats_0", "feats_1"])
    network = Fake({**SCENE, **POINTS}, {"masks": LOGITS, "iou_predictions": IOUS})
    decoder = Decoder(network, encoder, own=False)
    outputs = decoder(asked(found))
    assert decoder.finer == ("high_res_feats_0", "feats_1")
    assert decoder.prompts is None
    np.testing.assert_array_equal(outputs["iou_predictions"], np.float32([[0.7, 0.1, 0.7, 0.3]]))
    np.testing.assert_array_equal(outputs["low_res_masks"], LOGITS[:, [1, 0, 1, 2]])


def test_a_decoder_of_one_mask_answers_both_ways():
    encoder = Encoder(Fake({"x": ((1, 3, 32, 32), "float32")}, {"embeddings": zeros(1, 8, 2, 2)}))
    outputs = {"masks": zeros(1, 1, 1, 1), "iou_predictions": IOUS[:, :1], "low_res_masks": LOGITS[:, :1]}
    scene = {"image_embeddings": ((1, 8, 2, 2), "float32"), "orig_im_size": ((2,), "float32")}
    decoder = Decoder(Fake({**scene, **POINTS}, outputs), encoder, own=False)
    predictor = PromptPredictor(encoder, decoder, side=32)
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    single, several = (predictor.predict([[3, 4]], [1], multimask=many) for many in (False, True))
    assert single == several
    assert single.scores.tolist() == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("change", "outputs", "message"),
    [
        ({"interm": ((4, 1, 8), "float32")}, {}, "and what the encoder gives, got interm"),
        ({"point_coords": ((1, 2), "float32")}, {}, "must take image_embeddings and point_coords"),
        (
            {},
            {"masks": zeros(1, 3, 9, 9), "iou_predictions": IOUS},
            "must give low_res_masks, or masks of 8 cells",
        ),
    ],
)
def test_what_is_not_understood_is_named(change, outputs, message):
    encoder = Encoder(Fake(IMAGE, FEATURES))
    with pytest.raises(RuntimeFailure, match=message):
        Decoder(Fake({**SCENE, **POINTS, **change}, outputs), encoder, own=False)(
            asked(encoder({"images": zeros(1, 3, 32, 32)}))
        )


def test_encoders_take_one_square_picture():
    with pytest.raises(RuntimeFailure, match="the encoder must take images"):
        Encoder(Fake({"image": ((1, 3, 32, None), "float32")}, FEATURES))
    with pytest.raises(RuntimeFailure, match="must give an embedding"):
        Encoder(Fake(IMAGE, {"logits": zeros(1, 3)}))
