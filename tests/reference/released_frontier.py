"""Forward passes of systems on plain transformers, as functions of tensors by released name.

Written step by step from their descriptions: loops over tasks, heads and pixels where a library
call could hide a mistake in the order of dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.released_layers import Released, upsample

Maps = dict[str, Tensor]
Tasks = dict[str, int]
#: Width of a transformer -> blocks, heads of the attention, blocks after which maps are read.
VITS = {192: (12, 3, (3, 6, 9, 12)), 768: (12, 12, (3, 6, 9, 12)), 1024: (24, 16, (6, 12, 18, 24))}


def dense(p: Released, name: str, x: Tensor, out: int) -> Tensor:
    """Linear layer with bias on the last dimension."""
    return p.linear(name, x.reshape(-1, x.shape[-1]), out).reshape(*x.shape[:-1], out)


def layer_norm(p: Released, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Layer norm of the last dimension."""
    shape = (x.shape[-1],)
    weight = p.param(f"{name}.weight", shape, 0.7, 0.3).to(x)
    bias = p.param(f"{name}.bias", shape, 0.0, 0.2).to(x)
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / (variance + epsilon).sqrt() * weight + bias


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attention of one head, ``(B, N, C)``."""
    return (query @ key.mT * scale).softmax(dim=-1) @ value


def mlp(p: Released, name: str, x: Tensor) -> Tensor:
    return dense(p, f"{name}.fc2", F.gelu(dense(p, f"{name}.fc1", x, 4 * x.shape[-1])), x.shape[-1])


def patches(p: Released, images: Tensor, width: int) -> Tensor:
    """Patch embedding, ``(B, N, C)``, without position embeddings."""
    weight = p.param("backbone.patch_embed.proj.weight", (width, 3, 16, 16), 0.0, 0.1)
    bias = p.param("backbone.patch_embed.proj.bias", (width,), 0.0, 0.2)
    return F.conv2d(images, weight.to(images), bias.to(images), stride=16).flatten(2).mT


def as_map(tokens: Tensor, images: Tensor) -> Tensor:
    rows, columns = images.shape[-2] // 16, images.shape[-1] // 16
    return tokens.mT.reshape(len(tokens), -1, rows, columns)


def vit(p: Released, images: Tensor, width: int, class_token: bool = True) -> list[Tensor]:
    """Four maps of a plain transformer, the last one normed."""
    depth, heads, taps = VITS[width]
    tokens = patches(p, images, width)
    count = tokens.shape[1] + 1
    positions = p.param("backbone.pos_embed", (1, count, width), 0.0, 0.3).to(images)
    if class_token:
        first = p.param("backbone.cls_token", (1, 1, width), 0.0, 0.5).to(images)
        tokens = torch.cat([first.expand(len(images), 1, width), tokens], dim=1) + positions
    else:
        tokens = tokens + positions[:, 1:]
    maps = []
    for block in range(depth):
        name = f"backbone.blocks.{block}"
        mixed = dense(
            p, f"{name}.attn.qkv", layer_norm(p, f"{name}.norm1", tokens, 1e-6), 3 * width
        )
        query, key, value = mixed.chunk(3, dim=-1)
        size = width // heads
        parts = [
            attend(*(x[..., h * size : (h + 1) * size] for x in (query, key, value)), size**-0.5)
            for h in range(heads)
        ]
        tokens = tokens + dense(p, f"{name}.attn.proj", torch.cat(parts, dim=-1), width)
        tokens = tokens + mlp(p, f"{name}.mlp", layer_norm(p, f"{name}.norm2", tokens, 1e-6))
        if block + 1 in taps:
            last = block + 1 == depth
            kept = layer_norm(p, "backbone.norm", tokens, 1e-6) if last else tokens
            maps.append(as_map(kept[:, 1:] if class_token else kept, images))
    return maps


def over_channels(p: Released, name: str, x: Tensor) -> Tensor:
    return layer_norm(p, name, x.movedim(1, -1)).movedim(-1, 1)


def invpt(
    p: Released, images: Tensor, tasks: Tasks, width: int, channels: int, extra: int
) -> tuple[Maps, list[Maps]]:
    """InvPT: final and preliminary predictions."""
    maps = vit(p, images, width)
    rows, columns = (side // 2 for side in maps[0].shape[-2:])
    decoder, trunk = "multi_task_decoder", "multi_task_decoder.invpt"
    full = channels + extra
    last = upsample(maps[3], (rows, columns))
    skips = [None, p.conv(f"{decoder}.scale_embed.1", maps[1], full // 2, 3, bias=True)]
    shape = (width, full // 4, 3, 3)
    weight = p.param(f"{decoder}.scale_embed.0.weight", shape, 0.0, 0.05).to(images)
    bias = p.param(f"{decoder}.scale_embed.0.bias", (full // 4,), 0.0, 0.2).to(images)
    skips.append(F.conv_transpose2d(maps[0], weight, bias, 2, 1, 1))
    initial: Maps = {}
    x: Maps = {}
    for task, out in tasks.items():
        features = last
        for layer, size in ((0, width), (1, channels)):
            name = f"{decoder}.preliminary_decoder.{task}.{layer}"
            features = p.norm(f"{name}.bn1", p.conv(f"{name}.conv", features, size, 3)).relu()
        initial[task] = p.conv(f"{decoder}.intermediate_head.{task}", features, out, bias=True)
        both = torch.cat([features, initial[task]], dim=1)
        x[task] = p.conv(f"{trunk}.mix_proj.{task}.0", both, full, bias=True)
    totals = {task: torch.zeros(()).to(images) for task in tasks}
    before: dict[tuple[str, int], Tensor] = {}
    for stage, skip in enumerate(skips):
        c, name = full >> stage, f"{trunk}.invpt_stages.{stage}"
        height, breadth = rows * 2**stage, columns * 2**stage
        for place, task in enumerate(tasks):
            if skip is None:
                continue
            own = f"{name}.patch_embed.{place}.proj"
            own_map = upsample(x[task], (height, breadth))
            for convolution, norm in ((1, 2), (4, 5)):
                own_map = p.conv(f"{own}.{convolution}", own_map, c, 3, dilation=2)
                own_map = p.norm(f"{own}.{norm}", own_map).relu()
            x[task] = own_map + skip
        block = f"{name}.blocks.0"
        normed = {task: over_channels(p, f"{block}.norm1", each) for task, each in x.items()}
        grid = ((height + 1) // 2, (breadth + 1) // 2)
        queries, pooled = {}, []
        for place, task in enumerate(tasks):
            own = f"{block}.attn.conv_proj_q.{place}"
            kernel = p.param(f"{own}.conv.weight", (c, 1, 3, 3), 0.0, 0.6).to(images)
            asked = F.conv2d(normed[task], kernel, None, 2, 1, groups=c)
            queries[task] = dense(
                p, f"{block}.attn.proj_q", p.norm(f"{own}.bn", asked).flatten(2).mT, c
            )
            step = 2 ** (stage + 1)
            pooled.append(F.avg_pool2d(normed[task], step, step).flatten(2).mT)
        tokens = torch.cat(pooled, dim=1)
        keys, values = (dense(p, f"{block}.attn.proj_{n}", tokens, c) for n in "kv")
        half = c // 2
        scores: dict[tuple[str, int], Tensor] = {}
        for task in tasks:
            own_scores = [
                queries[task][..., h * half : (h + 1) * half]
                @ keys[..., h * half : (h + 1) * half].mT
                * c**-0.5
                for h in (0, 1)
            ]
            if stage:
                old = [upsample(before[task, h], grid).flatten(2).mT for h in (0, 1)]
                four = torch.stack([*own_scores, *old], dim=1)
                own_scores = list(p.conv(f"{block}.attn.fuse_attn", four, 2, bias=True).unbind(1))
            for h in (0, 1):
                scores[task, h] = own_scores[h].mT.reshape(len(images), -1, *grid)
            parts = [
                own_scores[h].softmax(dim=-1) @ values[..., h * half : (h + 1) * half]
                for h in (0, 1)
            ]
            attended = dense(p, f"{block}.attn.proj", torch.cat(parts, dim=-1), c)
            attended = attended.mT.reshape(len(images), c, *grid)
            x[task] = x[task] + upsample(attended, (height, breadth))
        before = scores
        for task, each in x.items():
            tokens = layer_norm(p, f"{block}.norm2", each.movedim(1, -1))
            x[task] = each + mlp(p, f"{block}.mlp", tokens).movedim(-1, 1)
        together = over_channels(p, f"{trunk}.norm_mts.{stage}", torch.cat(list(x.values()), dim=1))
        for place, task in enumerate(tasks):
            part = together[:, place * c : (place + 1) * c]
            if stage:
                part = p.conv(f"{trunk}.redu_chan.{stage}.{place}", part, full, bias=True)
            totals[task] = totals[task] + upsample(part, (8 * rows, 8 * columns))
    outputs = {}
    for task, out in tasks.items():
        own = f"{trunk}.mt_proj.{task}"
        features = p.norm(f"{own}.1", p.conv(f"{own}.0", totals[task], full, 3, bias=True)).relu()
        prediction = p.conv(f"heads.{task}.linear_pred", features, out, bias=True)
        outputs[task] = upsample(prediction, images.shape[-2:])
    return outputs, [initial]


def low_rank(
    p: Released, name: str, x: Tensor, out: int, tasks: Tasks, own: Maps | None, rank: int
) -> tuple[Tensor, Maps]:
    """An adapted layer of MTLoRA in its mode "matrix": shared output, and that of every task."""
    frozen = dense(p, f"{name}.linear", x, out)

    def update(kind: str, end: str, y: Tensor, inner: int) -> Tensor:
        down = p.param(f"{name}.lora_{kind}_A{end}", (inner, y.shape[-1]), 0.0, 0.2).to(y)
        up = p.param(f"{name}.lora_{kind}_B{end}", (out, inner), 0.0, 0.2).to(y)
        return 4.0 * (y @ down.T @ up.T)

    shared = frozen + update("shared", "", x, rank)
    given = own or dict.fromkeys(tasks, x)
    return shared, {t: frozen + update("tasks", f".{t}", given[t], 2) for t in tasks}


def swin_attention(p: Released, name: str, x: Tensor, heads: int, shift: int, rank: int) -> Tensor:
    """Attention in windows of 7 x 7 before its projection, ``(B, H, W, C)``, window by window."""
    batch, height, width, channels = x.shape
    side = 7
    table = p.param(f"{name}.relative_position_bias_table", (169, heads), 0.0, 0.5).to(x)
    places = [(i, j) for i in range(side) for j in range(side)]
    index = torch.tensor([[(a - c + 6) * 13 + (b - d + 6) for c, d in places] for a, b in places])
    bias = table[index].permute(2, 0, 1)

    def region(position: int, length: int) -> int:
        """Part of the shifted image; tokens of different parts do not see each other."""
        return 0 if position < length - side else 1 if position < length - shift else 2

    rolled = torch.roll(x, (-shift, -shift), (1, 2))
    out = torch.zeros_like(rolled)
    size = channels // heads
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = rolled[:, top : top + side, left : left + side].reshape(batch, -1, channels)
            mixed, _ = low_rank(p, f"{name}.qkv", window, 3 * channels, {}, {}, rank)
            query, key, value = mixed.chunk(3, dim=-1)
            parts = [
                (region(top + i, height), region(left + j, width)) if shift else (0, 0)
                for i, j in places
            ]
            hidden = torch.tensor([[a != b for b in parts] for a in parts])
            results = []
            for h in range(heads):
                cut = slice(h * size, (h + 1) * size)
                scores = query[..., cut] @ key[..., cut].mT * size**-0.5 + bias[h]
                results.append((scores - 100.0 * hidden).softmax(dim=-1) @ value[..., cut])
            joined = torch.cat(results, dim=-1).reshape(batch, side, side, channels)
            out[:, top : top + side, left : left + side] = joined
    return torch.roll(out, (shift, shift), (1, 2))


def mtlora(p: Released, images: Tensor, tasks: Tasks, rank: int) -> tuple[Maps, list[Maps]]:
    """MTLoRA on Swin-T at a size that windows of 7 divide at every stage."""
    weight = p.param("backbone.patch_embed.proj.weight", (96, 3, 4, 4), 0.0, 0.2).to(images)
    bias = p.param("backbone.patch_embed.proj.bias", (96,), 0.0, 0.2).to(images)
    x = F.conv2d(images, weight, bias, stride=4).movedim(1, -1)
    x = layer_norm(p, "backbone.patch_embed.norm", x)
    maps: dict[str, list[Tensor]] = {task: [] for task in tasks}
    for stage, (depth, heads) in enumerate(((2, 3), (2, 6), (6, 12), (2, 24))):
        channels, layer = x.shape[-1], f"backbone.layers.{stage}"
        for block in range(depth):
            name = f"{layer}.blocks.{block}"
            split = tasks if block + 1 == depth else {}
            shift = 3 if block % 2 and x.shape[1] > 7 else 0
            normed = layer_norm(p, f"{name}.norm1", x)
            attended = swin_attention(p, f"{name}.attn", normed, heads, shift, rank)
            shared, own = low_rank(p, f"{name}.attn.proj", attended, channels, split, None, rank)
            own = {task: x + each for task, each in own.items()}
            x = x + shared
            inner, own_inner = low_rank(
                p,
                f"{name}.mlp.fc1",
                layer_norm(p, f"{name}.norm2", x),
                4 * channels,
                split,
                {task: layer_norm(p, f"{name}.norm2", each) for task, each in own.items()},
                rank,
            )
            own_inner = {task: F.gelu(each) for task, each in own_inner.items()}
            last, own_last = low_rank(
                p, f"{name}.mlp.fc2", F.gelu(inner), channels, split, own_inner, rank
            )
            x = x + last
            own = {task: own[task] + each for task, each in own_last.items()}
        if stage < 3:
            x = merge_patches(p, f"{layer}.downsample", x)
            own = {t: merge_patches(p, f"{layer}.downsample", each) for t, each in own.items()}
        for task, each in own.items():
            maps[task].append(each.movedim(-1, 1))
    outputs = {}
    for task, out in tasks.items():
        finest = maps[task][0].shape[-2:]
        reduced = [
            upsample(
                p.conv(f"downsampler.{task}.downsample_{n}", each, (18, 36, 72, 144)[n]), finest
            )
            for n, each in enumerate(maps[task])
        ]
        name = f"decoders.decoders.{task}.last_layer"
        hidden = p.conv(f"{name}.0", torch.cat(reduced, dim=1), 1080, bias=True)
        hidden = p.norm(f"{name}.1", hidden).relu()
        prediction = p.conv(f"{name}.3", hidden, out, bias=True)
        outputs[task] = upsample(prediction, images.shape[-2:])
    return outputs, []


def merge_patches(p: Released, name: str, x: Tensor) -> Tensor:
    """Four neighbors concatenated: top left, bottom left, top right, bottom right."""
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    normed = layer_norm(p, f"{name}.norm", torch.cat(parts, dim=-1))
    weight = p.param(f"{name}.reduction.weight", (2 * x.shape[-1], 4 * x.shape[-1]), 0.0, 0.1)
    return normed @ weight.to(x).T


def token_head(p: Released, task: str, x: Tensor, out: int, size: torch.Size) -> Tensor:
    """Head of MLoRE and TaskPrompter on a map that is enlarged four times first."""
    x = upsample(x, tuple(4 * side for side in x.shape[-2:]))
    name = f"heads.{task}"
    hidden = p.conv(f"{name}.mt_proj.0", x, x.shape[1], 3, bias=True)
    hidden = F.gelu(p.norm(f"{name}.mt_proj.1", hidden))
    return upsample(p.conv(f"{name}.linear_pred", hidden, out, bias=True), size)


def mixture(
    p: Released,
    name: str,
    task: str,
    x: Tensor,
    ranks: tuple[int, ...],
    own_rank: int,
    kept: int,
    softmax_first: bool,
) -> Tensor:
    """One mixture of experts of MLoRE for one task, image by image, expert by expert."""
    channels = x.shape[1]
    quarter = channels // 4
    z = p.conv(f"{name}.conv1.{task}", x, channels, bias=True)
    router = f"{name}.router_1.{task}"
    mean = p.conv(f"{router}.0.conv1", z, quarter, bias=True)
    mean = F.gelu(over_channels(p, f"{router}.0.ln", mean))
    mean = p.conv(f"{router}.0.conv3", mean, quarter, bias=True).mean(dim=(2, 3), keepdim=True)
    summed = dense(p, f"{router}.0.convsp", z.flatten(2), 1)[..., 0]
    summed = F.gelu(layer_norm(p, f"{router}.0.ln_sp", summed))[:, :, None, None]
    summed = p.conv(f"{router}.0.conv2", summed, quarter, bias=True)
    count = len(ranks)
    decided = p.conv(f"{router}.1", torch.cat([mean, summed], 1), 2 * count + 1, bias=True)
    total = torch.zeros_like(z)
    for image, numbers in enumerate(decided.flatten(1)):
        logits = numbers[:count]
        used = sorted(range(count), key=lambda e: -logits[e].item())[:kept]
        scores = logits.exp()
        divisor = scores.sum() if softmax_first else scores[used].sum()
        for expert, rank in enumerate(ranks):
            own = f"{name}.lora_list_1.{expert}"
            inner = p.conv(f"{own}.W", z[image : image + 1], rank, 3, bias=True)
            outer = p.conv(f"{own}.M", inner, channels, bias=True)
            if expert in used:
                total[image] += scores[expert] / divisor * outer[0]
    mixed = p.norm(f"{name}.bn.{task}", total)
    inner = p.conv(f"{name}.conv2.{task}.W", z, own_rank, 3, bias=True)
    factor = decided[:, 2 * count :]
    mixed = mixed + factor * p.conv(f"{name}.conv2.{task}.M", inner, channels, bias=True)
    mixed = mixed + p.conv(f"{name}.share_conv", z, channels, 3, bias=True)
    mixed = F.gelu(p.norm(f"{name}.bn_all.{task}", mixed))
    return p.conv(f"{name}.conv3.{task}", mixed, channels, bias=True)


def mlore(
    p: Released,
    images: Tensor,
    tasks: Tasks,
    width: int,
    channels: int,
    ranks: tuple[int, ...],
    own_rank: int,
    kept: int,
    softmax_first: bool = False,
) -> tuple[Maps, list[Maps]]:
    """MLoRE."""
    levels: dict[str, list[Tensor]] = {task: [] for task in tasks}
    for level, each in enumerate(vit(p, images, width, class_token=False)):
        shared = p.conv(f"backbone.fea_fuse.{level}", each, channels, bias=True)
        for task in tasks:
            x = shared
            for number in (1, 2):
                name = f"backbone.MLoRE_{number}.{level}"
                x = mixture(p, name, task, x, ranks, own_rank, kept, softmax_first)
            levels[task].append(x)
    outputs = {}
    for task, out in tasks.items():
        name = f"backbone.task_mask.{task}"
        hidden = p.conv(f"{name}.0", torch.cat(levels[task], dim=1), channels, bias=True)
        shares = p.conv(f"{name}.3", F.gelu(p.norm(f"{name}.1", hidden)), 4, 3, bias=True)
        shares = shares.exp() / shares.exp().sum(dim=1, keepdim=True)
        summed = sum(shares[:, n : n + 1] * each for n, each in enumerate(levels[task]))
        outputs[task] = token_head(p, task, summed, out, images.shape[-2:])
    return outputs, []


def taskprompter(
    p: Released,
    images: Tensor,
    tasks: Tasks,
    width: int,
    embed: int,
    channels: int,
    windows: int,
    reweigh: bool,
) -> tuple[Maps, list[Maps]]:
    """TaskPrompter on a plain transformer: prompts and pixels, head by head, window by window."""
    depth, heads, taps = VITS[width]
    pixels = patches(p, images, width)
    count, total = len(tasks), pixels.shape[1]
    positions = p.param("backbone.pos_embed", (1, total + 1, width), 0.0, 0.3).to(images)
    pixels = pixels + positions[:, 1:]
    prompts = p.param("backbone.task_prompts", (count, width), 1.0, 1.0).to(images)[None]
    prompts = prompts.expand(len(images), count, width)
    rows, columns = images.shape[-2] // 16, images.shape[-1] // 16
    size = width // heads
    sums = {task: torch.zeros(()).to(images) for task in tasks}
    for number in range(depth):
        name = f"backbone.blocks.{number}"
        both = torch.cat([prompts, pixels], dim=1)
        normed = layer_norm(p, f"{name}.norm1", both, 1e-6)
        query, key, value = dense(p, f"{name}.attn.qkv", normed, 3 * width).chunk(3, dim=-1)
        parts, raw = [], []
        for h in range(heads):
            q, k, v = (x[..., h * size : (h + 1) * size] for x in (query, key, value))
            parts.append(attend(q, k, v, size**-0.5))
            raw.append(q @ k.mT)
        attended = dense(p, f"{name}.attn.proj", torch.cat(parts, dim=-1), width)
        channel_prompts = dense(p, f"{name}.attn.token_trans", normed[:, :count], total)
        change = dense(p, f"{name}.attn.token_trans1", channel_prompts, width)
        prompts = prompts + attended[:, :count] + change
        pixels = pixels + attended[:, count:]
        both = torch.cat([prompts, pixels], dim=1)
        both = both + mlp(p, f"{name}.mlp", layer_norm(p, f"{name}.norm2", both, 1e-6))
        prompts, pixels = both[:, :count], both[:, count:]
        if number + 1 not in taps:
            continue
        level = taps.index(number + 1)
        x = pixels
        if number + 1 == depth:
            x = layer_norm(p, "backbone.norm", x, 1e-6)
        x, before = as_map(x, images), as_map(normed[:, count:], images)
        features = {}
        for place, task in enumerate(tasks):
            spatial, channel = x.clone(), x.clone()
            for h in range(heads):
                score = raw[h][:, place, count:].reshape(-1, 1, rows, columns)
                spatial[:, h * size : (h + 1) * size] += score * x[:, h * size : (h + 1) * size]
            prompt = channel_prompts[:, place].reshape(-1, 1, rows, columns)
            high, wide = rows // windows, columns // windows
            for i in range(windows):
                for j in range(windows):
                    cut = (..., slice(i * high, (i + 1) * high), slice(j * wide, (j + 1) * wide))
                    score = (prompt[cut] * before[cut]).sum(dim=(2, 3), keepdim=True)
                    channel[cut] += score * x[cut]
            own = [
                p.conv(f"backbone.fea_decode_spa.{level}.{task}.0", spatial, embed, bias=True),
                p.conv(f"backbone.fea_decode_chan.{level}.{task}.0", channel, embed, bias=True),
            ]
            fuse = f"backbone.fea_fuse.{level}.{task}"
            hidden = p.conv(f"{fuse}.0", torch.cat(own, dim=1), channels, bias=True)
            hidden = p.conv(f"{fuse}.1", hidden, channels, 3, bias=True)
            hidden = F.gelu(p.norm(f"{fuse}.2", hidden))
            features[task] = p.conv(f"{fuse}.4", hidden, channels, bias=True)
        for place, task in enumerate(tasks):
            result = features[task]
            if reweigh:
                between = torch.stack([each[:, place, :count] for each in raw], dim=1)[..., None]
                name = f"backbone.ctr_attn_conv.{level}.{task}"
                weights = p.conv(f"{name}.0", between, heads, bias=True)
                weights = p.conv(f"{name}.2", F.gelu(weights), 1, bias=True)
                result = sum(
                    weights[:, 0, other].reshape(-1, 1, 1, 1) * features[source]
                    for other, source in enumerate(tasks)
                )
            sums[task] = sums[task] + result
    final = {t: token_head(p, t, sums[t], out, images.shape[-2:]) for t, out in tasks.items()}
    return final, []
