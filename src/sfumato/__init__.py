"""Sfumato: find and hide the faces in a labelled image data set, and measure cost and gain."""

__version__ = "0.1.0"
