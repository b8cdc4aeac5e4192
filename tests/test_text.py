"""Naming: what texts find in pictures whose truth is known, with an encoder that knows colours."""

import colours
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from delineate._mask_views import GREY, Views, window
from delineate.everything import Options as GridOptions
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.predict import Predictor
from delineate.prompt import PromptPredictor
from delineate.text import Finder, ImageTextEncoder, Options, candidates, describe, find, rank

PICTURE, TRUTH = colours.scene(colours.DISCS)


def agnostic(truth):
    """The masks without their names, as a promptable model gives them."""
    return Instances.of(truth.masks, scores=np.linspace(0.9, 0.8, len(truth)))


@pytest.mark.parametrize("background", ["blur", "grey", "keep"])
def test_each_colour_is_found_where_it_is_and_grey_is_nothing(background):
    found = rank(
        agnostic(TRUTH),
        colours.encoder(),
        PICTURE,
        ["red", "green", "blue"],
        Options(background=background, margin=0.1),
    )
    assert sorted(found.labels.tolist()) == [0, 0, 1, 2]
    overlap = found.masks.iou(TRUTH.masks)
    np.testing.assert_array_equal(TRUTH.labels[overlap.argmax(1)], found.labels)
    assert overlap.max(1).min() == 1
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_allclose(
        found.extras["candidate_score"], agnostic(TRUTH).scores[overlap.argmax(1)], rtol=1e-6
    )


def test_a_promptable_model_and_texts_find_the_named_discs_from_pixels():
    spots = [("red", 24, 32, 16), ("green", 24, 96, 15), ("blue", 72, 32, 17), ("red", 72, 96, 18)]
    picture, truth = colours.scene(spots)
    grid = GridOptions(points=2, iou=0.5, stability=0.7)
    predictor = PromptPredictor.load("click")
    finder = Finder(colours.encoder(), ["red"])
    asked = candidates(predictor, picture, grid)
    found = finder.rank(asked, picture)
    red = truth[truth.labels == 0].masks
    assert len(asked) >= 4
    assert len(found) == len(red) == 2
    assert found.masks.iou(red).max(0).min() > 0.7
    assert finder.find(predictor, picture, grid) == found


def test_an_instance_model_gives_candidates_too():
    class Fixed(Predictor):
        def __init__(self):
            pass

        def predict(self, pictures):
            return agnostic(TRUTH).replace(labels=np.full(len(TRUTH), 7))

    found = find(Fixed(), colours.encoder(), PICTURE, ["blue"])
    assert found.labels.tolist() == [0]
    assert found.masks == TRUTH.masks[[2]]


def test_scores_are_the_softmax_of_one_text_and_the_others():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(8, 5)).astype(np.float32)
    seen = rng.normal(size=(len(TRUTH), 5)).astype(np.float32)
    encoder = ImageTextEncoder(
        lambda texts: table[[int(text) for text in texts]],
        lambda views: seen[: len(views)],
        side=8,
        scale=3.0,
    )
    options = Options(others=("5", "6", "7"), templates=("{}",))
    scores = Finder(encoder, ["0", "1", "2"], options).scores(TRUTH.masks, PICTURE)
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (seen, table)]
    cosines = unit[0] @ unit[1].T
    for text in range(3):
        expected = softmax(3 * cosines[:, [text, 5, 6, 7]], axis=1)[:, 0]
        np.testing.assert_allclose(scores[:, text], expected, atol=1e-6)
    alone = Finder(encoder, ["1"], options).scores(TRUTH.masks, PICTURE)
    np.testing.assert_allclose(alone[:, 0], scores[:, 1], rtol=1e-6)


def test_sentences_are_averaged_as_directions():
    vectors = {"a x": (10.0, 0), "b x": (0, 1.0), "a o": (1.0, -1.0), "b o": (1.0, -1.0)}
    encoder = ImageTextEncoder(
        lambda texts: np.array([vectors[text] for text in texts]),
        lambda views: np.array([[1.0, 1.0]] * len(views)),
        side=8,
        scale=1.0,
    )
    finder = Finder(encoder, ["x"], Options(templates=("a {}", "b {}"), others=("o",)))
    expected = 1 / (1 + np.exp(-1))  # cosine 1 against 0: the length 10 weighs nothing
    np.testing.assert_allclose(finder.scores(TRUTH.masks[:1], PICTURE), [[expected]], rtol=1e-6)


def test_the_order_of_batches_changes_nothing_and_progress_is_told():
    told = []
    one = Finder(colours.encoder(), ["red", "blue"], Options(batch=2))
    all_at_once = Finder(colours.encoder(), ["red", "blue"], Options(batch=64))
    first = one.rank(agnostic(TRUTH), PICTURE, lambda done, total: told.append((done, total)))
    assert first == all_at_once.rank(agnostic(TRUTH), PICTURE) == one.rank(agnostic(TRUTH), PICTURE)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_memory_follows_the_batch_not_the_candidates():
    most = []

    def pictures(views):
        most.append(len(views))
        return colours.encode_pictures(views)

    encoder = colours.encoder(side=4)._replace(pictures=pictures)
    corners = np.random.default_rng(1).integers(0, 90, (10_000, 2))
    boxes = np.concatenate((corners, corners + 1), 1)
    masks = Masks.from_boxes(boxes, (96, 128))
    scores = Finder(encoder, ["red"], Options(batch=100, background="keep", margin=0)).scores(masks, PICTURE)
    assert scores.shape == (10_000, 1)
    assert set(most) == {100}
    centre = np.hypot(corners[:, 1] - 20, corners[:, 0] - 24)
    blue = np.hypot(corners[:, 1] - 70, corners[:, 0] - 30)
    assert scores[centre < 3].min() > 0.5 > scores[blue < 3].max()


def test_of_masks_that_cover_each_other_the_best_of_each_text_stays():
    big = TRUTH.masks[[3]]
    smaller = Masks.from_boxes([[76, 58, 92, 74]], big.size)  # inside of it
    shifted = big.translate(0, 1)
    candidates = Instances.of(Masks.concat([smaller, shifted, big, TRUTH.masks[[2]]]))
    named = rank(candidates, colours.encoder(), PICTURE, ["red", "blue"], Options(margin=0))
    assert sorted(named.labels.tolist()) == [0, 1]
    parts = rank(
        candidates, colours.encoder(), PICTURE, ["red", "blue"], Options(margin=0, nested=1.1, overlap=1)
    )
    assert sorted(parts.labels.tolist()) == [0, 0, 0, 1]


def test_no_candidates_and_masks_without_pixels():
    empty = rank(Instances.empty((96, 128), scored=True), colours.encoder(), PICTURE, ["red"])
    assert len(empty) == 0
    assert empty.scores is not None
    hollow = Instances.of(Masks.from_dense(np.zeros((2, 96, 128), bool)))
    assert len(rank(hollow, colours.encoder(), PICTURE, ["red"])) == 0
    with pytest.raises(ValueError, match="must have pixels, got mask 1 without"):
        Finder(colours.encoder(), ["red"]).scores(Masks.concat([TRUTH.masks[:1], hollow.masks[:1]]), PICTURE)


def test_texts_of_any_script_and_with_braces():
    picture, truth = colours.scene([("gelb ☀", 40, 50, 20), ("red", 70, 110, 12)])
    named = rank(truth, colours.encoder(), picture, ["red", "ein gelb ☀ {0}{}"])
    assert named[named.labels == 1].masks == truth.masks[:1]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], r'must name what to find, such as \["red car"\], got \[\]'),
        (["red", "  "], "must name what to find"),
        (["red", "blue", " red"], "each once, got 'red' more than once"),
        ([3], "must name what to find"),
    ],
)
def test_texts_that_name_nothing_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        Finder(colours.encoder(), texts)


def test_a_bare_text_is_refused():
    with pytest.raises(TypeError, match="got the str 'red'. Put it into a list"):
        Finder(colours.encoder(), "red")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": 1.5}, "score must be within"),
        ({"margin": -1}, "margin must be within"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"nested": 0}, "nested must be above 0"),
        ({"others": ()}, "others must name what else"),
        ({"templates": ("a photo",)}, "templates must be sentences with {}"),
        ({"background": "black"}, 'background must be "blur"'),
    ],
)
def test_options_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        Options(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": lambda texts: np.ones((1, 4))}, r"colours: texts must be finite vectors \(4, D\)"),
        ({"pictures": lambda views: np.full((len(views), 4), np.nan)}, "colours: pictures must be finite"),
        ({"pictures": lambda views: np.ones((len(views), 3))}, "as many numbers as texts"),
        ({"side": 0}, "a side and a scale above 0"),
    ],
)
def test_an_encoder_that_answers_something_else_is_named(change, message):
    encoder = colours.encoder()._replace(**change)
    with pytest.raises(ValueError, match=message):
        rank(agnostic(TRUTH), encoder, PICTURE, ["red"])


def test_masks_are_described_once_for_many_texts():
    found, encoder = agnostic(TRUTH), colours.encoder()
    described = describe(encoder, found.masks, PICTURE)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, rtol=1e-5)
    for texts in (["red"], ["blue", "green"]):
        finder = Finder(encoder, texts)
        assert finder.choose(found, described) == finder.rank(found, PICTURE)
    with pytest.raises(ValueError, match="described must be that of 4 masks"):
        finder.choose(found[:4], described)


def test_candidates_must_fit_the_picture_and_have_masks():
    with pytest.raises(ValueError, match="on the picture's canvas"):
        rank(agnostic(TRUTH), colours.encoder(), PICTURE[:50], ["red"])
    with pytest.raises(ValueError, match="candidates must have masks"):
        rank(Instances((96, 128), [[0, 0, 4, 4]], [0]), colours.encoder(), PICTURE, ["red"])


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 59), st.integers(0, 59), st.floats(0, 1), st.data()
)
def test_a_window_holds_its_box_and_stays_in_the_picture_where_it_can(height, width, y0, x0, margin, data):
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    where = window(np.array([x0, y0, x1, y1], np.float32), (height, width), margin)
    assert where.side >= max(16, max(x1 - x0, y1 - y0) * (1 + 2 * margin))
    for start, low, high, length in ((where.x0, x0, x1, width), (where.y0, y0, y1, height)):
        assert start <= low
        assert high <= start + where.side
        if where.side <= length:
            assert 0 <= start <= length - where.side


@pytest.mark.parametrize("side", [16, 33])
def test_a_view_shows_the_mask_as_it_is_and_the_rest_as_asked(side):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 200
    masks = Masks.from_boxes([[16, 16, 48, 48]], (64, 64))
    kept, grey, blurred = (Views(picture, masks, side, 0.5, how)(0) for how in ("keep", "grey", "blur"))
    assert kept.shape == grey.shape == blurred.shape == (side, side, 3)
    inside = slice(side // 4 + 2, -(side // 4) - 2)
    for view in (grey, blurred):
        np.testing.assert_allclose(view[inside, inside], kept[inside, inside], atol=1)
    assert (grey[0] == GREY).all()
    assert set(np.unique(kept[0, [0, -1]])) == {0, 200}
    edge = blurred[0].astype(int)[:, 0]
    assert len(np.unique(edge)) > 3  # a step became a slope
    assert (np.diff(edge) <= 0).all()


def test_a_view_over_the_edge_is_filled_with_grey():
    picture = np.full((10, 40, 3), 255, np.uint8)
    masks = Masks.from_boxes([[0, 0, 40, 10]], (10, 40))
    view = Views(picture, masks, 40, 0, "keep")(0)
    assert (view[:15] == GREY).all()
    assert (view[15:25] == 255).all()
    assert (view[25:] == GREY).all()


def test_one_pixel_and_one_pixel_pictures():
    for size in ((1, 1), (3, 300)):
        picture = np.full((*size, 3), colours.COLOURS["red"], np.uint8)
        masks = Masks.from_boxes([[0, 0, 1, 1]], size)
        named = rank(Instances.of(masks), colours.encoder(), picture, ["red", "blue"])
        assert named.labels.tolist() == [0]
