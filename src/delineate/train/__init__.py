"""Training: `load_config` and `fit`."""

from delineate.train.config import TrainConfig, load_config
from delineate.train.loop import Progress, fit

__all__ = ["Progress", "TrainConfig", "fit", "load_config"]
