"""Files written again: as little changed as the format allows, in every frame, with every bit."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, features

from sfumato.data import read_dataset
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import ImageError, UsageError
from sfumato.faces import Faces
from sfumato.images import frame_count, open_frames, picture_count, read_image, to_rgb, turned
from sfumato.obfuscate import METHODS, VARIANT_SCHEMA, FileOptions, obfuscate
from sfumato.obfuscate.files.animation import indexed
from sfumato.obfuscate.files.encode import read_source
from sfumato.obfuscate.files.jpeg import CannotEdit
from sfumato.obfuscate.files.metadata import Policy
from sfumato.obfuscate.files.rewrite import Rewritten, rewrite
from sfumato.obfuscate.proof.agreement import Pair, disagreements
from sfumato.records import read_table
from tests.conftest import drawn, face_table
from tests.detect.pictures import portrait

BOX = [10, 8, 40, 36]
ONE = Work(workers=1)


def overlay(image: Any) -> Any:
    return METHODS.build("overlay(grow=0.0)")(image, Faces.of([BOX]))


def rewritten(path: Path, *, frames: int = 1, policy: Policy = Policy.SAFE) -> tuple[Rewritten, Image.Image]:
    made = rewrite(path, overlay, policy=policy, frames=frames)
    return made, Image.open(io.BytesIO(made.data))


def outside(pixels: Any) -> Any:
    """Pixels with the box cut out."""
    mask = np.ones(pixels.shape[:2], dtype=bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = False
    return pixels[mask]


def inside(pixels: Any) -> Any:
    return pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]]


def all_frames(path: Path) -> list[Any]:
    return [np.asarray(frame.convert("RGBA")) for frame in open_frames(path)]


def moving(path: Path, n_frames: int = 3, **options: Any) -> Path:
    frames = []
    for number in range(n_frames):
        frame = Image.fromarray(drawn(48, 64, seed=number)).convert("RGBA")
        alpha = np.full((48, 64), 255, dtype=np.uint8)
        alpha[:6, : 10 + number] = 0
        frame.putalpha(Image.fromarray(alpha))
        frames.append(frame)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=[80, 120, 200][:n_frames], loop=0, **options
    )
    return path


ANIMATIONS = [
    ("a.gif", {"disposal": 2}),
    ("a.png", {}),
    ("a.webp", {"lossless": True, "exact": True}),
]


@pytest.mark.parametrize(("name", "options"), ANIMATIONS)
def test_every_frame_of_an_animation_is_hidden_and_nothing_else_changes(
    tmp_path: Path, name: str, options: Any
) -> None:
    path = moving(tmp_path / name, **options)
    assert frame_count(path) == picture_count(path, path.read_bytes()) == 3
    made, _ = rewritten(path, frames=3)
    assert (made.written, made.note, made.frames) == ("encoded", "", 3)
    new = tmp_path / f"new-{name}"
    new.write_bytes(made.data)
    before, after = all_frames(path), all_frames(new)
    assert len(after) == 3
    for old, frame in zip(before, after, strict=True):
        assert np.array_equal(frame[..., 3], old[..., 3])
        seen = outside(old)[:, 3] > 0
        np.testing.assert_array_equal(outside(frame)[seen], outside(old)[seen])
        np.testing.assert_array_equal(inside(frame)[..., :3], 127)
    with Image.open(path) as old_file, Image.open(new) as new_file:
        for number in range(3):
            old_file.seek(number)
            new_file.seek(number)
            old_file.load()
            new_file.load()
            assert new_file.info.get("duration") == old_file.info.get("duration")
        assert new_file.info.get("loop") == old_file.info.get("loop")


@pytest.mark.parametrize(("name", "options"), ANIMATIONS)
def test_frames_that_were_not_examined_are_left_out(tmp_path: Path, name: str, options: Any) -> None:
    made, image = rewritten(moving(tmp_path / name, **options), frames=1)
    assert getattr(image, "n_frames", 1) == 1
    assert "first of 3 frames kept" in made.note
    assert made.frames == 1


def test_a_still_gif_keeps_its_colours(tmp_path: Path) -> None:
    Image.fromarray(drawn(48, 64)).quantize(64).save(tmp_path / "a.gif")
    made, image = rewritten(tmp_path / "a.gif")
    old = read_image(tmp_path / "a.gif")
    np.testing.assert_array_equal(outside(np.asarray(image.convert("RGB"))), outside(old))
    assert (inside(np.asarray(image.convert("RGB"))) == 127).all()
    assert not made.note


def test_a_palette_without_room_takes_the_nearest_colours() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    before = np.dstack([colours[np.arange(48 * 64).reshape(48, 64) % 256], np.full((48, 64), 255, np.uint8)])
    after = before.copy()
    after[10:20, 10:20, :3] = 127
    image, note = indexed(before, after)
    shown = np.asarray(image.convert("RGB"))
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:20, 10:20] = True
    assert not note
    np.testing.assert_array_equal(shown[~mask], before[~mask][:, :3])
    nearest = colours[((colours.astype(int) - 127) ** 2).sum(axis=1).argmin()]
    assert (shown[mask] == nearest).all()


def test_too_many_colours_are_reduced_and_that_is_said() -> None:
    before = np.dstack([drawn(80, 80, seed=3), np.full((80, 80), 255, np.uint8)])
    before[..., :3] = np.random.default_rng(1).integers(0, 256, (80, 80, 3))
    image, note = indexed(before, before)
    assert note == "colours reduced to 256"
    assert image.size == (80, 80)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_outside_the_faces_stay(tmp_path: Path, suffix: str, channels: int) -> None:
    shape = (48, 64) if channels == 1 else (48, 64, channels)
    levels = np.random.default_rng(2).integers(0, 65536, shape, dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), levels)
    try:
        read_image(path)
    except ImageError:
        pytest.skip(f"Pillow does not read {channels} channels of 16 bits in a {suffix}")
    made, _ = rewritten(path)
    again: Any = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(outside(again), outside(levels))
    hidden = inside(again) if channels == 1 else inside(again)[..., :3]
    assert (hidden == 127 * 257).all()
    assert "levels" not in made.note
    if channels == 4:
        np.testing.assert_array_equal(again[..., 3], levels[..., 3])


def test_a_deep_png_keeps_what_its_colours_mean(tmp_path: Path) -> None:
    levels = (np.arange(48 * 64, dtype=np.uint16) * 21).reshape(48, 64)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(levels).save(tmp_path / "a.png", icc_profile=profile, dpi=(300, 300))
    made, image = rewritten(tmp_path / "a.png")
    assert image.info["icc_profile"] == profile
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert made.width == 64


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_pixels_are_turned_as_pillow_turns_them(
    orientation: int, height: int, width: int, flat: bool
) -> None:
    pixels = np.random.default_rng(height * 10 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", exif=exif)
    expected = to_rgb(ImageOps.exif_transpose(Image.open(sink)))
    found = turned(pixels[..., 0] if flat else pixels, orientation)
    np.testing.assert_array_equal(found, expected[..., 0] if flat else expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_deep_png_is_hidden_where_it_is_seen(tmp_path: Path, orientation: int) -> None:
    levels = np.random.default_rng(2).integers(0, 65536, (64, 80), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    made, _ = rewritten(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(made.data)
    again, before = read_image(tmp_path / "b.png"), read_image(tmp_path / "a.png")
    assert again.shape == before.shape
    assert (inside(again) == 127).all()
    np.testing.assert_array_equal(outside(again), outside(before))


def test_a_jpeg_is_edited(tmp_path: Path) -> None:
    Image.fromarray(drawn(96, 128)).save(tmp_path / "a.jpg", quality=88, comment=b"by Alice")
    made, image = rewritten(tmp_path / "a.jpg")
    assert (made.written, made.note) == ("edited", "")
    assert b"Alice" not in made.data
    assert np.abs(inside(np.asarray(image.convert("RGB"))).astype(int) - 127).mean() < 6


def test_a_jpeg_that_cannot_be_edited_is_encoded_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> bytes:
        raise CannotEdit("arithmetic-coded JPEG")

    Image.fromarray(drawn(96, 128)).save(tmp_path / "a.jpg", quality=88)
    monkeypatch.setattr("sfumato.obfuscate.files.rewrite.edit_jpeg", refuses)
    made, image = rewritten(tmp_path / "a.jpg")
    assert (made.written, made.note) == ("encoded", "decoded and encoded: arithmetic-coded JPEG")
    assert np.abs(inside(np.asarray(image.convert("RGB"))).astype(int) - 127).mean() < 6


@pytest.mark.parametrize(("name", "options"), ANIMATIONS)
def test_faces_in_any_frame_are_found_and_hidden_in_all(tmp_path: Path, name: str, options: Any) -> None:
    (tmp_path / "photos").mkdir()
    face, truth = portrait(96)
    blank = np.full_like(face, 120)
    frames = [Image.fromarray(picture) for picture in (blank, face, blank)]
    path = tmp_path / "photos" / name
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[50, 60, 70], loop=0, **options)
    dataset = read_dataset(tmp_path / "photos")
    table = detect(dataset, DETECTORS.build("retinaface"), tmp_path / "faces", work=ONE)
    assert len(table.of(name)) == 1
    assert table.frames[name] == 3
    obfuscate(dataset, table, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    hidden = all_frames(tmp_path / "v" / name)
    x0, y0, x1, y1 = truth[0].round().astype(int)
    assert len(hidden) == 3
    # A GIF whose palette is full has no grey 127, only one near it.
    far = 16 if name.endswith(".gif") else 0
    for frame in hidden:
        assert np.abs(frame[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4, :3].astype(int) - 127).max() <= far


def test_an_animation_without_faces_is_passed_on_whole(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    flat = [Image.new("RGB", (64, 48), (level, 90, 90)) for level in (20, 120, 220)]
    flat[0].save(tmp_path / "photos/a.gif", save_all=True, append_images=flat[1:])
    dataset = read_dataset(tmp_path / "photos")
    table = detect(dataset, DETECTORS.build("retinaface"), tmp_path / "faces", work=ONE)
    manifest = obfuscate(dataset, table, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert manifest.counts["copied"] == 1
    assert (tmp_path / "v/a.gif").read_bytes() == (tmp_path / "photos/a.gif").read_bytes()


BOXES = {"train/apple/0.jpg": [[10, 10, 30, 34]]}


def test_hard_links_are_made_where_asked_for(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    counts = {}
    for link in ("auto", "copy", "hard"):
        files = FileOptions.of("safe", link)
        out = tmp_path / link
        counts[link] = obfuscate(
            dataset, face_table(dataset, BOXES), METHODS.build("blur"), out, files=files, work=ONE
        ).counts
        for sample in dataset.samples:
            same = dataset.path(sample.image_id).samefile(out / sample.image_id)
            assert same == (link == "hard" and sample.image_id not in BOXES)
        assert [path.name for path in out.rglob(".*") if path.is_file()] == []
    assert counts["hard"]["linked"] == 19
    assert counts["copy"]["copied"] == counts["auto"]["copied"] == 19


def test_metadata_goes_from_files_with_faces_and_from_others_where_asked(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "taken at home by Alice"
    for name in ("face.jpg", "none.jpg"):
        Image.fromarray(drawn(64, 64)).save(root / name, exif=exif, quality=90)
    dataset = read_dataset(root)
    table = face_table(dataset, {"face.jpg": [[8, 8, 30, 30]]})

    def holds_name(folder: str, **options: Any) -> list[bool]:
        files = FileOptions(**options)
        obfuscate(dataset, table, METHODS.build("blur"), tmp_path / folder, files=files, work=ONE)
        return [b"Alice" in (tmp_path / folder / name).read_bytes() for name in ("face.jpg", "none.jpg")]

    assert holds_name("safe") == [False, True]
    assert holds_name("all", metadata=Policy.ALL) == [True, True]
    assert holds_name("everywhere", metadata_everywhere=True) == [False, False]
    rows = read_table(tmp_path / "everywhere/images.parquet", VARIANT_SCHEMA).to_pylist()
    assert [row["written"] for row in rows] == ["edited", "cleaned"]
    np.testing.assert_array_equal(read_image(tmp_path / "everywhere/none.jpg"), read_image(root / "none.jpg"))


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown policy 'some' for metadata; known: safe, all, none"):
        FileOptions.of("some", "auto")
    with pytest.raises(UsageError, match="unknown way 'soft' to pass on a file; known: auto, copy, hard"):
        FileOptions.of("safe", "soft")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_all_metadata_stays_where_it_is_asked_for_and_the_turn_does_not_count_twice(
    tmp_path: Path, name: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home by Alice"
    path = tmp_path / name
    Image.fromarray(drawn(64, 96)).save(path, exif=exif, quality=95)
    made, image = rewritten(path, policy=Policy.ALL)
    assert image.getexif()[0x010E] == "taken at home by Alice"
    (tmp_path / f"new-{name}").write_bytes(made.data)
    again, before = read_image(tmp_path / f"new-{name}"), read_image(path)
    assert again.shape == before.shape == (96, 64, 3)
    assert np.abs(inside(again).astype(int) - 127).mean() < 8
    for policy in (Policy.SAFE, Policy.NONE):
        assert b"Alice" not in rewritten(path, policy=policy)[0].data


def test_texts_of_a_png_stay_where_all_is_asked_for(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Alice")
    Image.fromarray(drawn(48, 64)).save(tmp_path / "a.png", pnginfo=texts)
    assert rewritten(tmp_path / "a.png", policy=Policy.ALL)[1].info["Author"] == "Alice"
    assert "Author" not in rewritten(tmp_path / "a.png")[1].info


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.avif"])
def test_the_colour_profile_stays_unless_nothing_may(tmp_path: Path, name: str) -> None:
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(drawn(64, 96)).save(tmp_path / name, icc_profile=profile)
    assert rewritten(tmp_path / name)[1].info["icc_profile"] == profile
    assert "icc_profile" not in rewritten(tmp_path / name, policy=Policy.NONE)[1].info


def hide_box(path: Path, method: str, box: Any) -> tuple[Rewritten, Any]:
    """What becomes of a file whose one face lies in a box, with the method that hides it."""
    faces, how = Faces.of([box]), METHODS.build(method)

    def hide(image: Any) -> Any:
        return how(image, faces)

    return rewrite(path, hide, policy=Policy.SAFE, faces=faces), hide


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_no_level_of_a_face_stays_where_eight_bits_cannot_tell(tmp_path: Path, suffix: str) -> None:
    """Heat and X-ray pictures use few of the upper bits: blurred, they look the same in 8."""
    levels = (29_000 + 100 * (np.indices((96, 96)).sum(axis=0) % 2)).astype(np.uint16)
    levels[0, 0], levels[0, 1] = 0, 65_535
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), levels)
    made, hide = hide_box(path, "blur(grow=0.0)", [20, 20, 70, 70])
    again: Any = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(again[22:68, 22:68])) == 1  # nothing of the pattern
    np.testing.assert_array_equal(again[:, 76:], levels[:, 76:])
    written = tmp_path / f"b.{suffix}"
    written.write_bytes(made.data)
    faces = Faces.of([[20, 20, 70, 70]])
    assert disagreements(Pair(path, written, hide, "encoded", faces)) == []
    assert disagreements(Pair(path, path, hide, "encoded", faces))  # the original does not pass for hidden


def test_black_ink_hides_no_face(tmp_path: Path) -> None:
    """Under full black a face in cyan cannot be seen, but read."""
    planes = np.zeros((64, 96, 4), dtype=np.uint8)
    planes[..., 0] = drawn(64, 96)[..., 0]
    planes[..., 3] = 255
    Image.fromarray(planes, mode="CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    made, _ = hide_box(tmp_path / "a.jpg", "blur", [16, 8, 64, 48])
    original, stored = (
        np.asarray(Image.open(tmp_path / "a.jpg")),
        np.asarray(Image.open(io.BytesIO(made.data))),
    )
    assert made.written == "edited"
    assert original[16:40, 24:56, 0].std() > 20
    assert stored[16:40, 24:56, 0].std() < 4


def test_a_fourth_channel_that_is_no_transparency_is_not_carried_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near infrared beside red, green and blue shows a face as well as they do."""
    levels = np.random.default_rng(3).integers(0, 65536, (48, 64, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.tiff"), levels)
    # What Pillow makes of a file that says so (ExtraSamples 0), which no encoder at hand writes.
    monkeypatch.setattr(
        "sfumato.obfuscate.files.rewrite.read_source", lambda path: replace(read_source(path), alpha=None)
    )
    made, image = rewritten(tmp_path / "a.tiff")
    assert "8 bits" in made.note
    assert len(image.getbands()) == 3
    assert (inside(np.asarray(image)) == 127).all()


def test_levels_of_eight_bits_in_a_wide_picture_stay_so(tmp_path: Path) -> None:
    levels = drawn(48, 64)[..., 0].astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    made, _ = rewritten(tmp_path / "a.png")
    again: Any = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (inside(again) == 127).all()
    np.testing.assert_array_equal(outside(again), outside(levels))


def test_a_turn_that_only_xmp_tells_is_not_told_twice(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    Image.fromarray(drawn(64, 96)).save(tmp_path / "a.webp", exif=exif, xmp=xmp, lossless=True)
    made, _ = rewritten(tmp_path / "a.webp", policy=Policy.ALL)
    (tmp_path / "b.webp").write_bytes(made.data)
    np.testing.assert_array_equal(
        outside(read_image(tmp_path / "b.webp")), outside(read_image(tmp_path / "a.webp"))
    )


def test_an_animation_too_large_to_be_held_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.obfuscate.files import animation

    monkeypatch.setattr(animation, "MOST_PIXELS", 48 * 64 * 2)
    with pytest.raises(ImageError, match="pixels in all frames are too many"):
        rewritten(moving(tmp_path / "a.gif"), frames=3)


def test_a_folder_with_the_name_of_a_document_is_refused_before_any_work(tmp_path: Path) -> None:
    for category in ("faces.json", "pear"):
        (tmp_path / "photos" / category).mkdir(parents=True)
        Image.fromarray(drawn()).save(tmp_path / "photos" / category / "a.png")
    dataset = read_dataset(tmp_path / "photos")
    with pytest.raises(UsageError, match=r"faces\.json: a variant has a file of its own of this name"):
        obfuscate(dataset, face_table(dataset, {}), METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("policy", list(Policy))
def test_the_short_way_of_a_jpeg_writes_the_bytes_of_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int | None, policy: Policy
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(drawn(64, 96)).save(tmp_path / "a.jpg", quality=88, exif=exif, dpi=(72, 72))
    short, _ = rewritten(tmp_path / "a.jpg", policy=policy)
    monkeypatch.setattr("sfumato.obfuscate.files.rewrite._edited", lambda *arguments: None)
    long, _ = rewritten(tmp_path / "a.jpg", policy=policy)
    assert short == long
    assert short.written == "edited"


def test_a_jpeg_beyond_the_limit_takes_the_long_way_which_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(drawn(64, 96)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 96 // 3)
    with pytest.raises(ImageError, match="too large"):
        rewritten(tmp_path / "a.jpg")
