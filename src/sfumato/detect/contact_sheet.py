"""Contact sheets: what a detector missed and what it wrongly took for a face, for a person to look at."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sfumato.boxes import Boxes, longer_side, round_out
from sfumato.data import Dataset
from sfumato.detect.score import counting, matched_truth
from sfumato.errors import ImageError
from sfumato.faces import Faces
from sfumato.images import Pixels

MOST_TILES = 60
"""Tiles on a sheet at most."""

TILE, CAPTION, GAP, COLUMNS = 128, 26, 8, 10
"""Pixels of a tile's side, of the caption below it, and between tiles; and tiles in a row."""

_CONTEXT = 0.75  # of the box's longer side, shown on each side of it
_PAPER, _INK, _FRAME = (255, 255, 255), (29, 36, 48), (255, 220, 0)


@dataclass(frozen=True, eq=False)
class Tile:
    """One crop: the box in the image, and what stands below it."""

    image_id: str
    box: Boxes
    remark: str


def contact_sheets(
    found: Mapping[str, Faces],
    truth: Mapping[str, Faces],
    dataset: Dataset,
    *,
    min_iou: float = 0.4,
    min_size: float = 0.0,
) -> dict[str, bytes]:
    """PNG by file name: "misses.png", largest first, and "false-alarms.png", best score first.

    A sheet without a tile is left out. The pictures show faces; they are for the person who has the images.

    Args:
        found, truth: faces by image id, compared as by `sfumato.detect.score`.
        dataset: where the images are; one that it lacks, or that cannot be read, is a grey tile that says so.
        min_iou, min_size: as in `sfumato.detect.score`.
    """
    misses: list[tuple[float, Tile]] = []
    alarms: list[tuple[float, Tile]] = []
    for image_id, known in truth.items():
        boxes = found.get(image_id, Faces.of())
        partner, counts = matched_truth(boxes, known, min_iou=min_iou, min_size=min_size)
        missed = counting(known, min_size) & ~np.isin(np.arange(len(known)), partner)
        for box, size in zip(known.xyxy[missed], longer_side(known.xyxy)[missed], strict=True):
            misses.append((-float(size), Tile(image_id, box, f"{size:.0f} px")))
        wrong = counts & (partner < 0)
        for box, score in zip(boxes.xyxy[wrong], boxes.score[wrong], strict=True):
            alarms.append((-float(score), Tile(image_id, box, f"score {score:.2f}")))
    sheets = {"misses.png": misses, "false-alarms.png": alarms}
    return {name: sheet(_first(rows), dataset) for name, rows in sheets.items() if rows}


def sheet(tiles: Sequence[Tile], dataset: Dataset) -> bytes:
    """Tiles as one PNG, row by row in the order given; each image is read once."""
    n_columns = min(COLUMNS, len(tiles))
    n_rows = -(-len(tiles) // COLUMNS)
    step = TILE + GAP
    page = Image.new("RGB", (GAP + n_columns * step, GAP + n_rows * (step + CAPTION)), _PAPER)
    by_image: dict[str, list[int]] = defaultdict(list)
    for place, tile in enumerate(tiles):
        by_image[tile.image_id].append(place)
    present = {sample.image_id for sample in dataset.samples}
    for image_id, places in by_image.items():
        # An id from somebody's file may point anywhere: only what the data set lists is opened.
        pixels = _read(dataset, image_id) if image_id in present else None
        for place in places:
            row, column = divmod(place, COLUMNS)
            corner = (GAP + column * step, GAP + row * (step + CAPTION))
            page.paste(_picture(pixels, tiles[place]), corner)
    sink = io.BytesIO()
    page.save(sink, "PNG")
    return sink.getvalue()


def _read(dataset: Dataset, image_id: str) -> Pixels | None:
    try:
        return dataset.read(image_id)
    except ImageError:
        return None


def _first(rows: list[tuple[float, Tile]]) -> list[Tile]:
    rows.sort(key=lambda row: (row[0], row[1].image_id))
    return [tile for _, tile in rows[:MOST_TILES]]


def _picture(pixels: Pixels | None, tile: Tile) -> Image.Image:
    """A tile with its caption, (TILE + CAPTION) pixels high; grey where there are no pixels."""
    picture = Image.new("RGB", (TILE, TILE + CAPTION), _PAPER)
    if pixels is None:
        picture.paste((200, 200, 200), (0, 0, TILE, TILE))
        remark = f"{tile.remark}, cannot be read"
    else:
        picture.paste(_crop(pixels, tile.box))
        remark = tile.remark
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(10)
    # The end of an id tells more than its beginning; what the font cannot draw becomes "?".
    name = tile.image_id.encode("ascii", "replace").decode()
    while len(name) > 1 and draw.textlength(name, font) > TILE:
        name = name[1:]
    draw.text((0, TILE + 1), name, fill=_INK, font=font)
    draw.text((0, TILE + 13), remark, fill=_INK, font=font)
    return picture


def _crop(pixels: Pixels, box: Boxes) -> Image.Image:
    """The box with its surroundings, scaled to a square of TILE pixels; black beyond the image's edge."""
    x0, y0, x1, y1 = box
    half = max(float(longer_side(box[None])[0]), 1.0) * (0.5 + _CONTEXT)
    centre_x, centre_y = float(x0 + x1) / 2, float(y0 + y1) / 2
    window = np.array([[centre_x - half, centre_y - half, centre_x + half, centre_y + half]], np.float32)
    left, top, right, bottom = map(int, round_out(window)[0])
    crop = (
        Image.fromarray(pixels)
        .crop((left, top, right, bottom))
        .resize((TILE, TILE), Image.Resampling.LANCZOS)
    )
    scale = TILE / (right - left), TILE / (bottom - top)
    edges = [
        (value - start) * factor for value, start, factor in zip(box, (left, top) * 2, scale * 2, strict=True)
    ]
    ImageDraw.Draw(crop).rectangle(edges, outline=_FRAME, width=1)
    return crop
