"""The selective scan of Mamba in plain PyTorch, and its use on images in four directions."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskprism.errors import InputError

_STATE = 16
_DIRECTIONS = 4
_CHUNK = 512  # steps
_FASTEST, _SLOWEST, _FLOOR = 0.1, 1e-3, 1e-4  # of the first step sizes

Chunk = Annotated[int, Field(ge=1, le=65536)]


def selective_scan(
    x: Tensor,
    delta: Tensor,
    decay: Tensor,
    entry: Tensor,
    exit: Tensor,
    skip: Tensor,
    chunk: int = _CHUNK,
) -> Tensor:
    r"""Linear recurrence with input-dependent coefficients (Gu and Dao, "Mamba", 2023).

    .. math::
        h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t x_t, \quad y_t = C_t h_t + D x_t

    Exact and without logarithms, which are unsafe for large steps. Chunks follow one another;
    within a chunk many steps are computed at the same time. Memory in training is that of one
    chunk and of the states between chunks. Half precision is computed in float32.

    Args:
        x: ``(B, G, D, L)``: L steps of D channels in G groups.
        delta: Step sizes, positive, ``(B, G, D, L)``.
        decay: A, negative, ``(G, D, N)`` with N states per channel.
        entry: B, ``(B, G, N, L)``, shared by the channels of a group.
        exit: C, ``(B, G, N, L)``.
        skip: D, ``(G, D)``.
        chunk: Steps per chunk; the result does not depend on it.

    Returns:
        y, ``(B, G, D, L)``, in the type of ``x``.

    Raises:
        InputError: ``chunk`` is less than 1.

    Example:
        >>> import torch
        >>> from taskprism.layers.selective_scan import selective_scan
        >>> ones = torch.ones(1, 1, 1, 3)
        >>> half = torch.tensor([[[-0.6931472]]])  # the state is halved in each step
        >>> selective_scan(ones, ones, half, ones, ones, torch.zeros(1, 1)).flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    if chunk < 1:
        raise InputError(f"selective_scan: chunk must be at least 1, got {chunk}.")
    kind = x.dtype
    if kind in (torch.float16, torch.bfloat16):
        x, delta, decay, entry, exit, skip = (
            each.float() for each in (x, delta, decay, entry, exit, skip)
        )
    state = torch.zeros_like(x[..., :1] * decay)
    outputs = []
    saves = torch.is_grad_enabled() and not torch.compiler.is_exporting()
    for start in range(0, x.shape[-1], chunk):
        steps = slice(start, start + chunk)
        parts = (x[..., steps], delta[..., steps], decay, entry[..., steps], exit[..., steps])
        if saves and x.shape[-1] > chunk:
            y, state = checkpoint(_scan_chunk, *parts, state, use_reentrant=False)
        else:
            y, state = _scan_chunk(*parts, state)
        outputs.append(y)
    return (torch.cat(outputs, dim=-1) + skip[..., None] * x).to(kind)


def _scan_chunk(
    x: Tensor, delta: Tensor, decay: Tensor, entry: Tensor, exit: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs of a chunk without the skip, and the state ``(B, G, D, N)`` after it.

    The chunk is cut into about as many pieces as a piece has steps. The recurrence runs in all
    pieces at the same time from zero, then from piece to piece. So a chunk of n steps takes about
    twice the root of n operations one after the other.
    """
    length = x.shape[-1]
    steps = math.isqrt(length - 1) + 1

    def cut(values: Tensor) -> Tensor:
        """``(..., L)`` -> ``(steps, ..., pieces)``; steps of size 0 that are added do nothing."""
        filled = F.pad(values, (0, -length % steps))
        return filled.unflatten(-1, (-1, steps)).movedim(-1, 0).contiguous()

    # Big tensors are (steps, B, G, D, pieces, N), so that each step is one block of memory.
    x, delta = cut(x), cut(delta)
    entry, exit = (cut(each).transpose(3, 4)[:, :, :, None] for each in (entry, exit))
    decay = decay[:, :, None]
    factors = (delta[..., None] * decay).exp()
    drives = (delta * x)[..., None] * entry
    sums = [drives[0]]
    for factor, drive in zip(factors[1:], drives[1:], strict=True):
        sums.append(torch.addcmul(drive, factor, sums[-1]))
    passed = (delta.cumsum(dim=0)[..., None] * decay).exp()  # from the start of the piece
    starts = []
    for last, factor in zip(sums[-1].unbind(dim=3), passed[-1].unbind(dim=3), strict=True):
        starts.append(state)
        state = torch.addcmul(last, factor, state)
    states = torch.addcmul(torch.stack(sums), passed, torch.stack(starts, dim=3))
    y = (states * exit).sum(dim=-1)
    return y.movedim(0, -1).flatten(-2)[..., :length], state


class ImageScan(nn.Module):
    """Selective scan of an image in four directions (SS2D of Liu et al., "VMamba", 2024).

    A linear layer, depth-wise 3x3 convolution and SiLU give the values. These are scanned row by
    row, column by column, and both in reverse, with coefficients of each direction; the four
    results are put back in place and summed. Layer norm follows.

    Args:
        channels: Channels of the input.
        inner: Channels of the values.
        gated: A second half of the linear layer gates the result (SiLU), and a linear layer leads
            back to ``channels``. Otherwise the result has ``inner`` channels.
        context_channels: Channels of another map from which the coefficients are computed, through
            a linear layer, instead of from the values. None: there is none.
        rank: Channels from which step sizes are computed; by default a 16th of ``channels``,
            rounded up.
        chunk: See :func:`selective_scan`.

    Example:
        >>> import torch
        >>> from taskprism.layers.selective_scan import ImageScan
        >>> tuple(ImageScan(channels=8, inner=16)(torch.rand(1, 4, 6, 8)).shape)
        (1, 4, 6, 8)
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        gated: bool = True,
        context_channels: int | None = None,
        rank: int | None = None,
        chunk: int = _CHUNK,
    ) -> None:
        super().__init__()
        rank = math.ceil(channels / 16) if rank is None else rank
        self.rank, self.chunk, self.gated = rank, chunk, gated
        self.enter = nn.Linear(channels, 2 * inner if gated else inner, bias=False)
        self.context = (
            None if context_channels is None else nn.Linear(context_channels, inner, bias=False)
        )
        self.convolution = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner)
        self.coefficients = nn.Parameter(torch.empty(_DIRECTIONS, rank + 2 * _STATE, inner))
        self.steps = nn.Parameter(torch.empty(_DIRECTIONS, inner, rank))
        self.step_bias = nn.Parameter(torch.empty(_DIRECTIONS, inner))
        self.log_decay = nn.Parameter(torch.empty(_DIRECTIONS * inner, _STATE))
        self.skip = nn.Parameter(torch.ones(_DIRECTIONS * inner))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, channels, bias=False) if gated else None
        self._start()

    def _start(self) -> None:
        """Initial values of VMamba."""
        bound = self.coefficients.shape[-1] ** -0.5
        nn.init.uniform_(self.coefficients, -bound, bound)
        nn.init.uniform_(self.steps, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            low, high = math.log(_SLOWEST), math.log(_FASTEST)
            sizes = (low + torch.rand_like(self.step_bias) * (high - low)).exp().clamp(min=_FLOOR)
            self.step_bias.copy_(sizes + torch.log(-torch.expm1(-sizes)))  # inverse of softplus
            states = torch.arange(1, _STATE + 1, device=self.log_decay.device)
            self.log_decay.copy_(states.log().expand_as(self.log_decay))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Scan.

        Args:
            x: ``(B, H, W, channels)``, normed.
            context: ``(B, H, W, context_channels)``, if there is a context.

        Returns:
            ``(B, H, W, channels)``, or ``(B, H, W, inner)`` without gate.
        """
        value, gate = self.enter(x).chunk(2, dim=-1) if self.gated else (self.enter(x), None)
        image = F.silu(self.convolution(value.permute(0, 3, 1, 2)))
        source = image
        if self.context is not None and context is not None:
            source = self.context(context).permute(0, 3, 1, 2)
        result = self.norm(self._scan(image, source).permute(0, 2, 3, 1))
        if gate is None or self.leave is None:
            return result
        return self.leave(result * F.silu(gate))

    def _scan(self, image: Tensor, source: Tensor) -> Tensor:
        size = image.shape[-2:]
        values, sources = _four_ways(image), _four_ways(source)
        mixed = torch.einsum("bgdl,gcd->bgcl", sources, self.coefficients)
        steps, entry, exit = mixed.split([self.rank, _STATE, _STATE], dim=2)
        delta = torch.einsum("bgrl,gdr->bgdl", steps, self.steps) + self.step_bias[..., None]
        inner = image.shape[1]
        y = selective_scan(
            values,
            F.softplus(delta),
            -self.log_decay.exp().view(_DIRECTIONS, inner, _STATE),
            entry,
            exit,
            self.skip.view(_DIRECTIONS, inner),
            self.chunk,
        )
        both = y[:, :2] + y[:, 2:].flip(-1)
        rows = both[:, 0].unflatten(2, size)
        return rows + both[:, 1].unflatten(2, (size[1], size[0])).transpose(2, 3)


def _four_ways(image: Tensor) -> Tensor:
    """``(B, C, H, W)`` row by row, column by column, and both reversed: ``(B, 4, C, H W)``."""
    both = torch.stack([image.flatten(2), image.transpose(2, 3).flatten(2)], dim=1)
    return torch.cat([both, both.flip(-1)], dim=1)
