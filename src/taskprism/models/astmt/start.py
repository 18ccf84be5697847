"""Random weights that ASTMT starts from, as released. Adapters stay at zero."""

from __future__ import annotations

import math

from torch import nn
from torchvision.ops import SqueezeExcitation

from taskprism.layers.modulation import ResidualAdapter

_STANDARD_DEVIATION = 0.01


def start_as_resnet(network: nn.Module) -> None:
    """Convolutions from N(0, 0.01), squeeze-and-excitation after He et al., biases 0."""
    for convolution in _convolutions(network):
        nn.init.normal_(convolution.weight, std=_STANDARD_DEVIATION)
    for layer in _gates(network):
        nn.init.kaiming_normal_(layer.weight)


def start_as_mobilenet(network: nn.Module) -> None:
    """Convolutions from N(0, sqrt(2 / (k k out))), squeeze-and-excitation N(0, 0.01), biases 0."""
    for convolution in _convolutions(network):
        fan_out = math.prod(convolution.kernel_size) * convolution.out_channels
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / fan_out))
    for layer in _gates(network):
        nn.init.normal_(layer.weight, std=_STANDARD_DEVIATION)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """All but the adapters, with biases set to 0."""
    found = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and not isinstance(module, ResidualAdapter)
    ]
    for convolution in found:
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    return found


def _gates(network: nn.Module) -> list[nn.Conv2d]:
    """Both layers of every squeeze-and-excitation, which convolve a single pixel."""
    gates = [module for module in network.modules() if isinstance(module, SqueezeExcitation)]
    return [layer for gate in gates for layer in (gate.fc1, gate.fc2)]
