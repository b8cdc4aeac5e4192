"""Instance segmentation: detect every object in a picture and delineate each one with its own mask."""

__version__ = "0.1.0"
