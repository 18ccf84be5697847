"""Names that other packages give to the layers of SE-ResNet and MobileNetV2.

Each function brings a name to the one it has here, without the part that says whose task's copy it
is. Known are timm (``seresnet*``, ``resnet*``, ``legacy_seresnet*``, ``mobilenetv2_100``),
torchvision, and the ImageNet weights that the authors of ASTMT released.
"""

from __future__ import annotations

import re

_WRAPPER = re.compile(r"^(module|model|backbone|encoder|trunk)\.")
_RESNET = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^layer0\.", ""),
        (r"\.se_module\.", ".se."),
        (r"\.se\.fc\.0\.", ".se.fc1."),
        (r"\.se\.fc\.2\.", ".se.fc2."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut_bn."),
        (r"^(layer\d\.\d+\.conv2)\.", r"\1.shared."),
    )
]
_MOBILENET_PARTS = ("expand", "expand_bn", "depthwise", "depthwise_bn", "project", "project_bn")
# What those six parts are called elsewhere; a block without expansion has only the last four.
_WITH_EXPANSION = (
    ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"),
    ("conv.conv1", "conv.bn1", "conv.conv2", "conv.bn2", "conv.conv3", "conv.bn3"),
)
_WITHOUT_EXPANSION = (
    ("conv_dw", "bn1", "conv_pw", "bn2"),
    ("conv.0.0", "conv.0.1", "conv.1", "conv.2"),
    ("conv.conv1", "conv.bn1", "conv.conv2", "conv.bn2"),
)
_SE = (("se.fc.0", "se.fc1"), ("se.fc.2", "se.fc2"))
_STEM = re.compile(r"^(?:features\.0\.(?:conv\.)?([01])|(conv_stem)|(bn1))\.(\w+)$")
_TIMM_BLOCK = re.compile(r"^blocks\.(\d)\.(\d)\.(.+)\.(\w+)$")
_OTHER_BLOCK = re.compile(r"^features\.(\d+)\.(.+)\.(\w+)$")
_TIMM_STAGES = (1, 2, 3, 4, 3, 3, 1)


def se_resnet_name(name: str) -> str:
    """Name in :class:`~taskprism.backbones.se_resnet.SEResNet`, tasks left out."""
    name = _unwrapped(name)
    for pattern, replacement in _RESNET:
        name = pattern.sub(replacement, name)
    return name


def se_mobilenet_name(name: str) -> str:
    """Name in :class:`~taskprism.backbones.se_mobilenet.SEMobileNetV2`, tasks left out."""
    name = _unwrapped(name)
    if stem := _STEM.match(name):
        number, convolution, _, kind = stem.groups()
        return f"stem.{number or ('0' if convolution else '1')}.{kind}"
    if block := _TIMM_BLOCK.match(name):
        stage, place, part, kind = block.groups()
        index = sum(_TIMM_STAGES[: int(stage)]) + int(place)
    elif block := _OTHER_BLOCK.match(name):
        number, part, kind = block.groups()
        index = int(number) - 1
    else:
        return name
    return f"blocks.{index}.{_mobilenet_part(part, expands=index > 0)}.{kind}"


def _mobilenet_part(part: str, expands: bool) -> str:
    ours = _MOBILENET_PARTS if expands else _MOBILENET_PARTS[2:]
    for theirs in _WITH_EXPANSION if expands else _WITHOUT_EXPANSION:
        if part in theirs:
            return ours[theirs.index(part)]
    return dict(_SE).get(part, part)


def _unwrapped(name: str) -> str:
    while _WRAPPER.match(name):
        name = _WRAPPER.sub("", name)
    return name
