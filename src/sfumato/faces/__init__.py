"""Faces as data: the faces of one image, and the table of all."""

from sfumato.faces.known import read_known_boxes
from sfumato.faces.record import Faces
from sfumato.faces.table import FACES_SCHEMA, FaceTable, faces_rows, read_faces

__all__ = ["FACES_SCHEMA", "FaceTable", "Faces", "faces_rows", "read_faces", "read_known_boxes"]
