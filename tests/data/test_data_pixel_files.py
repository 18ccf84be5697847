"""The meaning of a stored number does not depend on the form of the file.

Each file holds a few numbers that are known by hand, and is read as each kind of label.
"""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from taskprism.data.encoding import TargetDecoder
from taskprism.data.files import exif_orientation, read_array, read_image
from taskprism.data.folder_config import TaskConfig
from taskprism.errors import DataError
from taskprism.tasks import Albedo, Depth, Normals, Saliency, SemanticSegmentation

LABELS = np.array([[0, 1, 2, 1], [2, 2, 0, 1]], dtype=np.uint8)
MASK = np.array([[0, 1, 0, 1], [1, 1, 0, 0]], dtype=np.uint8)
DEPTH = np.array([[0, 256, 1000, 40000], [1, 2, 3, 65535]], dtype=np.uint16)
COLORS = np.array([[[255, 0, 0], [0, 128, 255], [9, 9, 9], [0, 0, 0]]] * 2, dtype=np.uint8)


def write_png(path, pixels, bits, color_type=0, palette=None):
    """A PNG of any bit depth, which Pillow cannot write."""

    def chunk(kind, body):
        sum_of = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", sum_of)

    height, width = pixels.shape[:2]
    rows = b""
    for row in pixels.reshape(height, -1):
        if bits == 16:
            rows += b"\0" + row.astype(">u2").tobytes()
        else:
            text = "".join(f"{value:0{bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            rows += b"\0" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    colors = chunk(b"PLTE", bytes(palette)) if palette else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + colors
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_big_endian_tiff(path, pixels):
    """A gray 16-bit TIFF in which the larger byte comes first."""
    height, width = pixels.shape
    data = pixels.astype(">u2").tobytes()
    entries = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data))]
    table = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        stored = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        table += struct.pack(">HHI", tag, kind, 1) + stored
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + len(data)) + data + table + b"\0" * 4)


def save(path, pixels, mode=None, **options):
    picture = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels, mode=mode)
    picture.save(path, **options)


def save_palette(path, indices, colors):
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([value for color in colors for value in color])
    picture.save(path)


def with_opacity(pixels, opacity=255):
    full = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.concatenate([full, np.full_like(full[..., :1], opacity)], axis=2)


def read(path, task, **config):
    """Values of a label file, with -1 where there is no label."""
    path_like = {"path": "{name}", "kind": task.kind}
    decoder = TargetDecoder(task, TaskConfig(**path_like, **config), config.get("map"))
    target, valid = decoder(path)
    return torch.where(valid.as_subclass(Tensor), target.as_subclass(Tensor), -1).numpy()


PASCAL = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
CLASS_FILES = {
    "8-bit gray": lambda p: save(p, LABELS),
    "2-bit gray": lambda p: write_png(p, LABELS, 2),
    "4-bit gray": lambda p: write_png(p, LABELS, 4),
    "16-bit gray": lambda p: save(p, LABELS.astype(np.uint16)),
    "16-bit gray, from 8 bits": lambda p: save(p, LABELS.astype(np.uint16) * 257),
    "8-bit palette": lambda p: save_palette(p, LABELS, PASCAL),
    "2-bit palette": lambda p: write_png(p, LABELS, 2, 3, [*range(12)]),
    "gray and opacity": lambda p: save(p, with_opacity(LABELS)),
    "gray as RGB": lambda p: save(p, np.stack([LABELS] * 3, axis=2)),
    "gray as RGBA": lambda p: save(p, with_opacity(np.stack([LABELS] * 3, axis=2))),
    "32-bit tif": lambda p: save(p, LABELS.astype(np.int32)),
    "float tif": lambda p: save(p, LABELS.astype(np.float32)),
    "8-bit tif": lambda p: save(p, LABELS, compression="tiff_lzw"),
    "8-bit bmp": lambda p: save(p, LABELS),
    "8-bit pgm": lambda p: save(p, LABELS),
    "2-bit pgm": lambda p: p.write_bytes(b"P5 4 2 3 " + LABELS.tobytes()),
    "12-bit pgm": lambda p: p.write_bytes(b"P5 4 2 4095 " + LABELS.astype(">u2").tobytes()),
    "big-endian tif": lambda p: write_big_endian_tiff(p, LABELS.astype(np.uint16)),
    "big-endian npy": lambda p: np.save(p, LABELS.astype(">u2")),
    "64-bit npy": lambda p: np.save(p, LABELS.astype(np.int64)),
    "float npy": lambda p: np.save(p, LABELS.astype(np.float64)),
}


def path_of(folder, name):
    ending = name.split()[-1]
    return folder / f"x.{ending if ending in ('tif', 'bmp', 'pgm', 'npy', 'gif') else 'png'}"


@pytest.mark.parametrize("name", CLASS_FILES)
@pytest.mark.parametrize("mapped", [False, True])
def test_classes(tmp_path, name, mapped):
    path = path_of(tmp_path, name)
    CLASS_FILES[name](path)
    task = SemanticSegmentation(channels=3)
    config = {"map": {0: 2, 1: 0, 2: 1}} if mapped else {}
    expected = np.array([2, 0, 1])[LABELS] if mapped else LABELS
    np.testing.assert_array_equal(read(path, task, ignore=(255,), **config)[0], expected)


def test_one_bit_classes_are_zero_and_one(tmp_path):
    path = tmp_path / "x.png"
    save(path, MASK.astype(bool))
    task = SemanticSegmentation(channels=3)
    np.testing.assert_array_equal(read(path, task, ignore=(255,))[0], MASK)


def test_optimized_classes_with_the_ignored_number(tmp_path):
    """0 and 255 become 0 and 1 in one bit, and indices in a palette of gray levels."""
    task = SemanticSegmentation(channels=4)
    labels = np.array([[0, 1, 2, 3, 255]], dtype=np.uint8)
    indices = np.array([[0, 1, 2, 3, 4]], dtype=np.uint8)
    save_palette(tmp_path / "x.png", indices, [(v, v, v) for v in labels[0].tolist()])
    found = read(tmp_path / "x.png", task, ignore=(255,))[0]
    np.testing.assert_array_equal(found, [[0, 1, 2, 3, -1]])
    save(tmp_path / "x.png", MASK.astype(bool))
    found = read(tmp_path / "x.png", task, ignore=(255,), encoding={"values": "shown"})[0]
    np.testing.assert_array_equal(found, np.where(MASK, -1, 0))


MASK_FILES = {
    "8-bit gray": lambda p: save(p, MASK * 255),
    "1-bit gray": lambda p: save(p, MASK.astype(bool)),
    "2-bit gray": lambda p: write_png(p, MASK * 3, 2),
    "4-bit gray": lambda p: write_png(p, MASK * 15, 4),
    "16-bit gray": lambda p: save(p, MASK.astype(np.uint16) * 65535),
    "black and white palette": lambda p: save_palette(p, MASK, [(0, 0, 0), (255, 255, 255)]),
    "gray and opacity": lambda p: save(p, with_opacity(MASK * 255)),
    "RGB": lambda p: save(p, np.stack([MASK * 255] * 3, axis=2)),
    "RGBA": lambda p: save(p, with_opacity(np.stack([MASK * 255] * 3, axis=2))),
    "16-bit RGB": lambda p: write_png(p, np.stack([MASK * 65535.0] * 3, axis=2), 16, 2),
    "1-bit tif": lambda p: save(p, MASK.astype(bool), compression="group4"),
    "1-bit bmp": lambda p: save(p, MASK.astype(bool)),
    "1-bit pgm": lambda p: save(p, MASK.astype(bool)),
    "float tif": lambda p: save(p, MASK.astype(np.float32) * 255),
    "float from 0 to 1 tif": lambda p: save(p, MASK.astype(np.float32)),
    "boolean npy": lambda p: np.save(p, MASK.astype(bool)),
    "8-bit gif": lambda p: save(p, MASK * 255),
}


@pytest.mark.parametrize("name", MASK_FILES)
@pytest.mark.parametrize("positive", [(255,), "nonzero"])
def test_masks(tmp_path, name, positive):
    path = path_of(tmp_path, name)
    MASK_FILES[name](path)
    expected = MASK
    if name == "16-bit RGB" and positive != "nonzero":
        positive = (65535,)
    np.testing.assert_array_equal(read(path, Saliency(), positive=positive)[0], expected)


def test_one_class_of_a_palette_is_a_mask(tmp_path):
    save_palette(tmp_path / "x.png", LABELS, PASCAL)
    found = read(tmp_path / "x.png", Saliency(), positive=(2,))[0]
    np.testing.assert_array_equal(found, LABELS == 2)


def test_soft_masks_of_any_depth(tmp_path):
    path = tmp_path / "x.png"
    scale = {"encoding": {"scale": "1/255"}}
    for bits in (1, 2, 4, 16):
        write_png(path, MASK.astype(int) * (2**bits - 1), bits)
        np.testing.assert_allclose(read(path, Saliency(soft=True), **scale)[0], MASK, atol=1e-6)
    save(path, MASK.astype(bool))
    np.testing.assert_array_equal(read(path, Saliency())[0], MASK)
    with pytest.raises(DataError, match=r"1-bit gray PNG.*encoding\.values"):
        read(path, Depth())


@pytest.mark.parametrize("ending", ["png", "tif", "npy", "big.tif", "big.npy", "float.tif", "pgm"])
def test_depth_of_16_bits(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    if ending == "big.tif":
        write_big_endian_tiff(path, DEPTH)
    elif ending.endswith("npy"):
        np.save(path, DEPTH.astype(">u2" if "big" in ending else "<u2"))
    elif ending == "pgm":
        path.write_bytes(b"P5 4 2 65535\n" + DEPTH.astype(">u2").tobytes())
    else:
        save(path, DEPTH.astype(np.float32) if "float" in ending else DEPTH)
    found = read(path, Depth(), encoding={"scale": 0.001}, ignore=(0,))[0]
    np.testing.assert_allclose(found, np.where(DEPTH, DEPTH / 1000, -1), rtol=1e-6)


def test_depth_in_a_pgm_with_another_white(tmp_path):
    stored = np.array([[0, 500, 1234, 10000]], dtype=">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 4 1 10000\n" + stored.tobytes())
    found = read(tmp_path / "x.pgm", Depth(), encoding={"scale": 0.001})[0]
    np.testing.assert_allclose(found, [[0, 0.5, 1.234, 10]], rtol=1e-6)


NORMALS = {"encoding": {"scale": "2/255", "offset": -1, "axes": ["right", "up", "toward"]}}


def test_normals_of_any_form(tmp_path):
    path = tmp_path / "x.png"
    stored = np.full((2, 4, 3), 255 * 0.5)
    stored[..., 2] = 255
    stored[0, :, 0], stored[0, :, 2] = 255 * 0.8, 255 * 0.9
    eight, sixteen = np.rint(stored).astype(np.uint8), np.rint(stored * 257)
    expected = [[0.6, 0, 0.8], [0, 0, 1]]
    colors = np.unique(eight.reshape(-1, 3), axis=0)
    indices = (eight[..., None, :] == colors).all(axis=-1).argmax(axis=-1).astype(np.uint8)
    for write in (
        lambda: save(path, eight),
        lambda: save(path, with_opacity(eight)),
        lambda: write_png(path, sixteen, 16, 2),
        lambda: save_palette(path, indices, colors.tolist()),
    ):
        write()
        found = read(path, Normals(), **NORMALS)
        np.testing.assert_allclose(found[:, :, 0].T, expected, atol=0.01)
    with pytest.raises(DataError, match=r"length.*encoding"):
        encoding = {**NORMALS["encoding"], "scale": "1/100"}
        read(path, Normals(), encoding=encoding)


def test_albedo_of_8_and_16_bits(tmp_path):
    path = tmp_path / "x.png"
    for bits, white in ((8, 255), (16, 65535)):
        write_png(path, COLORS.astype(int) * (white // 255), bits, 2)
        found = read(path, Albedo(), encoding={"scale": "1/255"})
        np.testing.assert_allclose(found, COLORS.transpose(2, 0, 1) / 255, atol=1e-6)


REFUSED = {
    "classes as JPEG": (lambda p: save(p, LABELS, format="JPEG"), "JPEG.*lossy", {}),
    "classes as lossy WebP": (
        lambda p: save(p, COLORS, format="WEBP", quality=50),
        "WEBP.*lossy",
        {},
    ),
    "transparent classes": (lambda p: save(p, with_opacity(LABELS, 9)), "transparent", {}),
    "colors": (lambda p: save(p, COLORS), r"\(2, 4, 3\).*1 channel", {}),
    "CMYK": (lambda p: save(p, with_opacity(COLORS), "CMYK", format="TIFF"), "CMYK", {}),
    "several pictures": (
        lambda p: Image.fromarray(LABELS).save(
            p, format="TIFF", save_all=True, append_images=[Image.fromarray(LABELS)]
        ),
        "2 pictures",
        {},
    ),
    "white is zero": (
        lambda p: Image.fromarray(LABELS).save(p, format="TIFF", tiffinfo={262: 0}),
        "0 is white",
        {},
    ),
    "fractions": (lambda p: save(p, LABELS / np.float32(2), format="TIFF"), "integers", {}),
    "16-bit RGB TIFF": (lambda p: write_rgb_tiff(p), "16 bits", {}),
    "shown colors": (
        lambda p: save_palette(p, LABELS, PASCAL),
        "gray levels",
        {"encoding": {"values": "shown"}},
    ),
}


def write_rgb_tiff(path):
    data = (COLORS.astype(int) * 257).astype("<u2").tobytes()
    entries = [(256, 3, 1, 4), (257, 3, 1, 2), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 2)]
    entries += [(279, 4, 1, len(data))]
    body = data + struct.pack("<HHH", 16, 16, 16)
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + table + b"\0" * 4)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_class_files_are_named(tmp_path, name):
    write, pattern, config = REFUSED[name]
    path = tmp_path / "x.png"
    write(path)
    with pytest.raises(DataError, match=pattern) as caught:
        read(path, SemanticSegmentation(channels=3), **config)
    assert str(path) in str(caught.value)


def test_a_colored_palette_is_not_depth(tmp_path):
    save_palette(tmp_path / "x.png", LABELS, PASCAL)
    with pytest.raises(DataError, match=r"palette PNG.*depth"):
        read(tmp_path / "x.png", Depth())


def test_an_inverted_palette_is_not_a_mask(tmp_path):
    save_palette(tmp_path / "x.png", MASK, [(255, 255, 255), (0, 0, 0)])
    with pytest.raises(DataError, match="index 0 is not black"):
        read(tmp_path / "x.png", Saliency(), positive="nonzero")
    shown = read(tmp_path / "x.png", Saliency(), positive="nonzero", encoding={"values": "shown"})
    np.testing.assert_array_equal(shown[0], 1 - MASK)


def test_lossy_classes_can_be_declared(tmp_path):
    path = tmp_path / "x.jpg"
    save(path, np.full((8, 8), 200, dtype=np.uint8))
    mapping = dict.fromkeys(range(128), 0) | dict.fromkeys(range(128, 256), 1)
    task = SemanticSegmentation(channels=2)
    assert (read(path, task, map=mapping, encoding={"lossy": True}) == 1).all()


PHOTOGRAPHS = {
    "8-bit RGB": lambda p: save(p, COLORS),
    "RGB and half opacity": lambda p: save(p, with_opacity(COLORS, 100)),
    "16-bit RGB": lambda p: write_png(p, COLORS.astype(int) * 257, 16, 2),
    "16-bit RGBA": lambda p: write_png(p, with_opacity(COLORS.astype(int) * 257, 9), 16, 6),
    "palette": lambda p: save_palette(
        p, np.arange(4, dtype=np.uint8)[None].repeat(2, 0), COLORS[0].tolist()
    ),
    "CMYK tif": lambda p: save(p, np.concatenate([255 - COLORS, COLORS[..., :1] * 0], 2), "CMYK"),
    "16-bit RGB tif": lambda p: write_rgb_tiff(p),
    "lossless webp": lambda p: save(p, COLORS, lossless=True, format="WEBP"),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_color_photographs(tmp_path, name):
    path = path_of(tmp_path, name)
    PHOTOGRAPHS[name](path)
    found = read_image(path)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), COLORS.transpose(2, 0, 1) / 255, atol=1e-6)


GRAY_PHOTOGRAPHS = {
    "1-bit": lambda p: save(p, MASK.astype(bool)),
    "2-bit": lambda p: write_png(p, MASK * 3, 2),
    "4-bit": lambda p: write_png(p, MASK * 15, 4),
    "8-bit": lambda p: save(p, MASK * 255),
    "16-bit": lambda p: save(p, MASK.astype(np.uint16) * 65535),
    "16-bit gray and opacity": lambda p: write_png(p, with_opacity(MASK * 65535.0, 9), 16, 4),
    "gray and opacity": lambda p: save(p, with_opacity(MASK * 255, 9)),
    "big-endian tif": lambda p: write_big_endian_tiff(p, MASK.astype(np.uint16) * 65535),
    "float tif": lambda p: save(p, MASK.astype(np.float32)),
    "4-bit pgm": lambda p: p.write_bytes(b"P5 4 2 15 " + (MASK * 15).tobytes()),
    "12-bit pgm": lambda p: p.write_bytes(
        b"P5 4 2 4095 " + (MASK * 4095.0).astype(">u2").tobytes()
    ),
}


@pytest.mark.parametrize("name", GRAY_PHOTOGRAPHS)
def test_gray_photographs(tmp_path, name):
    path = path_of(tmp_path, name)
    GRAY_PHOTOGRAPHS[name](path)
    np.testing.assert_allclose(read_image(path).numpy(), np.stack([MASK] * 3), atol=1e-6)


@pytest.mark.parametrize("pixels", [DEPTH.astype(np.int32), DEPTH.astype(np.float32)])
def test_photographs_without_a_white_raise(tmp_path, pixels):
    path = tmp_path / "x.tif"
    save(path, pixels)
    with pytest.raises(DataError, match=r"x\.tif.*65535.*8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation_as_pillow_defines_it(tmp_path, ending, tag):
    from PIL import ImageOps

    path = tmp_path / f"x.{ending}"
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 4)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(path, exif=exif)
    assert exif_orientation(path) == tag
    with path.open("rb") as file, Image.open(file) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(read_array(path), expected)
    upright = read_image(path)[0].numpy() * 255
    np.testing.assert_allclose(upright, expected, atol=1e-4)
    as_stored = read_image(path, orientation="stored")[0].numpy() * 255
    np.testing.assert_allclose(as_stored, pixels, atol=1e-4)


def test_a_pipe_is_not_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.png")
    for reader in (read_image, read_array):
        with pytest.raises(DataError, match="regular file"):
            reader(tmp_path / "x.png")
