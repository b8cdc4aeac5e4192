"""Validation of a torch model gives what the metric gives on what the decode gives."""

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from synthetic import nuclei_dataset  # noqa: E402

from delineate import models  # noqa: E402
from delineate.modelfile import Preprocess  # noqa: E402
from delineate.postprocess.decode import Thresholds  # noqa: E402
from delineate.train.data import Pictures  # noqa: E402
from delineate.train.validate import validate  # noqa: E402


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.0, 0.0)])
def test_the_report_is_that_of_the_metric(tmp_path, monkeypatch, share, expected):
    dataset = nuclei_dataset(tmp_path, count=3)
    truth = iter([record.instances for record in dataset])

    def perfect(_model, _image, _preprocess, _thresholds):
        objects = next(truth)
        found = objects[: int(len(objects) * share)]
        return found.replace(scores=torch.linspace(0.9, 0.1, len(found)).numpy())

    monkeypatch.setattr("delineate.train.validate.segment", perfect)
    report = validate(None, Pictures(dataset, 1.0), Preprocess(rule="native", multiple=16), Thresholds())
    assert report.ap == pytest.approx(expected)


def test_a_real_model_is_validated(tmp_path):
    pictures = Pictures(nuclei_dataset(tmp_path, count=2), 1.0)
    model = models.build("yolo_seg-test", classes=1).eval()
    report = validate(model, pictures, Preprocess(rule="native", multiple=16), Thresholds())
    assert 0 <= report.ap <= 1
