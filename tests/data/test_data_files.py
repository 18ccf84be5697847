"""Images and arrays in common file formats."""

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch import Tensor

from taskprism.data import create_protocol
from taskprism.data.files import read_array, read_image

HEIGHT, WIDTH = 24, 32


def read(folder, split="train", index=0, **options):
    protocol = create_protocol(str(folder.write()), **options)
    return protocol.dataset(split)[index]


def values(sample, task):
    return sample["targets"][task].as_subclass(Tensor).numpy()


def stored(folder, path):
    return np.array(Image.open(folder.root / path))


def test_arrays_of_every_format(folder):
    depth = np.linspace(1, 9, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    folder.save("d/a.npy", depth)
    np.savez(folder.root / "d/b.npz", meters=depth, other=depth * 0)
    scipy.io.savemat(folder.root / "d/c.mat", {"meters": depth})
    for name, key in (("a.npy", None), ("b.npz", "meters"), ("c.mat", None)):
        np.testing.assert_array_equal(read_array(folder.root / "d" / name, key), depth)
    folder.save("chw/a.npy", depth[None])
    folder.config["tasks"]["depth"] = {"path": "chw/{name}.npy", "encoding": {"layout": "chw"}}
    np.testing.assert_array_equal(values(read(folder), "depth")[0], depth)


def test_sixteen_bit_color_keeps_all_bits(tmp_path):
    from torchvision.io import write_file

    header = np.array([[300, 40000, 65535], [1, 2, 3]], dtype=np.uint16)[None]
    path = tmp_path / "deep.png"
    write_file(str(path), torch.tensor(list(_deep_png(header)), dtype=torch.uint8))
    np.testing.assert_array_equal(read_array(path), header)


def _deep_png(pixels):
    """A 16-bit RGB PNG, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_palette_images_are_indices(folder):
    labels = stored(folder, "semseg/a.png")
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette([i % 256 for i in range(768)])
    picture.save(folder.root / "semseg/a.png")
    assert np.array_equal(read_array(folder.root / "semseg/a.png"), labels)


def test_photographs_are_rotated_by_exif(tmp_path):
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, :6] = 255
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was held a quarter turn clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.shape == (3, 12, 8)
    assert image[:, :6].min() == 1
    assert image[:, 6:].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_any_mode_become_rgb(tmp_path, mode):
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert image.shape == (3, 4, 6)
    assert image.dtype == torch.float32
    assert image.min() == 1


def test_sixteen_bit_gray_images_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 6), 32768, dtype=np.uint16)).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    torch.testing.assert_close(image.as_subclass(Tensor), torch.full((3, 4, 6), 32768 / 65535))
