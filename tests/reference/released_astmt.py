"""Names and shapes of the tensors in ASTMT's released checkpoints, for every variant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reference.astmt import RESNET_BLOCKS

Shapes = dict[str, tuple[int, ...]]
WIDTH, LOW_WIDTH = 64, 12
#: Expansion, output channels and repetitions of MobileNetV2's blocks.
MOBILENET = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]


@dataclass(frozen=True)
class Variant:
    """Options of a released network.

    Attributes:
        tasks: Released name -> channels.
        depth: Depth of the SE-ResNet, or None for MobileNetV2.
        squeeze_encoder: Squeeze-and-excitation per task in the encoder; otherwise it is shared.
        squeeze_decoder: Squeeze-and-excitation per task in the decoder; otherwise it has none.
        adapters: Residual adapters, in encoder and decoder.
        norm: Batch norm per task: always in an SE-ResNet, otherwise with squeeze-and-excitation.
    """

    tasks: dict[str, int]
    depth: int | None = 26
    squeeze_encoder: bool = True
    squeeze_decoder: bool = True
    adapters: bool = True
    norm: bool = True

    @property
    def norm_in_encoder(self) -> bool:
        return self.norm and (self.squeeze_encoder or self.depth is not None)

    @property
    def norm_in_decoder(self) -> bool:
        return self.norm and self.squeeze_decoder

    def shapes(self) -> Shapes:
        encoder = self.mobilenet() if self.depth is None else self.resnet(RESNET_BLOCKS[self.depth])
        return {**dict(encoder), **dict(self.decoder())}

    def owners(self, per_task: bool) -> list[str]:
        return [f".{task}" for task in self.tasks] if per_task else [""]

    def bn(self, name: str, channels: int, per_task: bool) -> Iterator[tuple[str, tuple]]:
        for owner in self.owners(per_task):
            for part in ("weight", "bias", "running_mean", "running_var"):
                yield f"{name}{owner}.{part}", (channels,)
            yield f"{name}{owner}.num_batches_tracked", ()

    def se(
        self, name: str, channels: int, reduction: int, per_task: bool
    ) -> Iterator[tuple[str, tuple]]:
        hidden = channels // reduction
        for owner in self.owners(per_task):
            yield f"{name}.se.fc{owner}.0.weight", (hidden, channels)
            yield f"{name}.se.fc{owner}.0.bias", (hidden,)
            yield f"{name}.se.fc{owner}.2.weight", (channels, hidden)
            yield f"{name}.se.fc{owner}.2.bias", (channels,)

    def adapt(self, name: str, entering: int, out: int) -> Iterator[tuple[str, tuple]]:
        for owner in self.owners(True) if self.adapters and self.depth is not None else []:
            yield f"{name}.adapt{owner}.weight", (out, entering, 1, 1)

    def resnet(self, blocks: tuple[int, ...]) -> Iterator[tuple[str, tuple]]:
        yield "conv1.weight", (64, 3, 7, 7)
        yield from self.bn("bn1", 64, False)
        entering = 64
        for layer, count in enumerate(blocks, start=1):
            inner = 32 * 2**layer
            for index in range(count):
                name = f"layer{layer}.{index}"
                yield f"{name}.conv1.weight", (inner, entering, 1, 1)
                yield f"{name}.conv2.weight", (inner, inner, 3, 3)
                yield f"{name}.conv3.weight", (4 * inner, inner, 1, 1)
                for number, channels in enumerate((inner, inner, 4 * inner), start=1):
                    yield from self.bn(f"{name}.bn{number}", channels, self.norm_in_encoder)
                yield from self.adapt(name, inner, inner)
                yield from self.se(name, 4 * inner, 16, self.squeeze_encoder)
                if index == 0:
                    yield f"{name}.downsample.process.weight", (4 * inner, entering, 1, 1)
                    yield from self.bn(f"{name}.downsample.norm", 4 * inner, self.norm_in_encoder)
                entering = 4 * inner

    def mobilenet(self) -> Iterator[tuple[str, tuple]]:
        yield "features.0.conv.0.weight", (32, 3, 3, 3)
        yield from self.bn("features.0.conv.1", 32, False)
        entering, number = 32, 0
        for expansion, out, repetitions in MOBILENET:
            for _ in range(repetitions):
                number += 1
                inner = entering * expansion
                layers = [(inner, 1, 3, 3), (out, inner, 1, 1)]
                if expansion > 1:
                    layers.insert(0, (inner, entering, 1, 1))
                for place, shape in enumerate(layers, start=1):
                    yield f"features.{number}.conv.conv{place}.weight", shape
                    yield from self.bn(
                        f"features.{number}.conv.bn{place}", shape[0], self.norm_in_encoder
                    )
                yield from self.se(f"features.{number}", out, 4, self.squeeze_encoder)
                entering = out

    def decoder(self) -> Iterator[tuple[str, tuple]]:
        is_mobile = self.depth is None
        low, high = (24, 320) if is_mobile else (256, 2048)
        deep = [(f"layer5.conv2d_list.{i}", high, WIDTH, 3 if i else 1) for i in range(4)]
        units = [
            *deep,
            ("layer5.conv2d_list.4", high, WIDTH, 1),
            ("layer5.conv2d_final", 5 * WIDTH, WIDTH, 1),
            ("low_level_reduce", low, LOW_WIDTH, 1),
            ("conv_concat", WIDTH + LOW_WIDTH, WIDTH, 3),
            ("conv_process", WIDTH, WIDTH, 3),
        ]
        # "Depth-wise" layers have as many groups as input and output channels allow.
        groups = [1, 64, 64, 64, 64, 64, 12, 4, 64] if is_mobile else [1] * len(units)
        for (short, entering, out, kernel), group in zip(units, groups, strict=True):
            name = f"decoder.{short}"
            is_global = short.endswith("list.4")
            place = 1 if is_global else 0  # after its pooling
            yield f"{name}.process.{place}.weight", (out, entering // group, kernel, kernel)
            if not is_global:
                yield from self.adapt(name, entering, out)
            if self.squeeze_decoder and not (is_global and is_mobile):
                reduction = 4 if is_mobile or short == "low_level_reduce" else 16
                yield from self.se(name, out, reduction, True)
            yield from self.bn(f"{name}.norm", out, self.norm_in_decoder)
        for task, channels in self.tasks.items():
            yield f"decoder.conv_predict.{task}.weight", (channels, WIDTH, 1, 1)
            yield f"decoder.conv_predict.{task}.bias", (channels,)
