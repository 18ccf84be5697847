"""PAP-Net's diffusion with explicit affinity matrices."""

from __future__ import annotations

import torch


def affinity_diffusion(module, features):
    refined = {task: [] for task in module.tasks}
    batch, channels, height, width = features[module.sources[0]].shape
    for b in range(batch):
        affinity = []
        for source in module.sources:
            x = features[source][b].reshape(channels, -1).T  # (HW, C)
            if module.normalize == "positions":  # each channel over positions
                x = torch.stack([x[:, c] / x[:, c].norm() for c in range(channels)], dim=1)
                a = x @ x.T
                a = torch.stack([a[:, j] / a[:, j].sum() for j in range(len(a))], dim=1)
            else:  # each position over channels
                x = torch.stack([x[p] / x[p].norm() for p in range(len(x))])
                a = x @ x.T
                a = torch.stack([a[i] / a[i].sum() for i in range(len(a))])
            affinity.append(a)
        for t, task in enumerate(module.tasks):
            exponents = module.mixing[t].exp()
            mixture = 0
            for s in range(len(module.sources)):
                mixture = mixture + exponents[s] / exponents.sum() * affinity[s]
            start = features[task][b].reshape(channels, -1).T
            state = start
            for _ in range(module.iterations):
                state = module.beta * mixture @ state + (1 - module.beta) * start
            refined[task].append(state.T.reshape(channels, height, width))
    return {task: torch.stack(parts) for task, parts in refined.items()}
