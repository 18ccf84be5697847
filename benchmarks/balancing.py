"""Time and memory of a training step with every balancing, relative to fixed weights.

    python benchmarks/balancing.py                                     # seconds: a small network
    python benchmarks/balancing.py --backbone resnet50 --size 256 320 --rounds 7
    python benchmarks/balancing.py --model mti_net --backbone hrnet_w18 --device cuda

A step is forward pass, loss, backward pass, the optimizer's step (SGD), and what the balancing does
after it. In every round each balancing takes one step after the other, and fixed weights twice: at
the start and at the end. The time of a balancing is divided by the mean of these two, so other load
on the machine hardly matters; the second column is the spread of that quotient over the rounds. On
a CPU the clock is processor time. Memory is the peak of what the step allocates, without the
weights.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from taskprism import create_model
from taskprism.errors import InputError
from taskprism.losses import BALANCERS, Criterion, GradientBalancing, create_balancer
from taskprism.tasks import create_task

TASKS = {"semseg": 20, "depth": 1, "normals": 3, "edge": 1}


def parse() -> argparse.Namespace:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="multi_task")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", nargs=2, type=int, default=[96, 128], help="height and width")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=len(TASKS), help="the first of four")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


class Training:
    """One network, which every balancing trains in turn."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.device = options.device
        self.tasks = [
            create_task(task, channels=TASKS[task]) for task in list(TASKS)[: options.tasks]
        ]
        model = create_model(options.model, self.tasks, backbone=options.backbone)
        self.model = model.to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        height, width = options.size
        self.images = torch.rand(options.batch, 3, height, width, device=self.device)
        self.targets, self.valid = {}, {}
        for task in self.tasks:
            shape = (options.batch, task.target_channels, height, width)
            target = torch.rand(shape, device=self.device)
            if task.name == "semseg":
                target = (target * TASKS["semseg"]).long()
            if task.name == "edge":
                target = target.round()
            self.targets[task.name] = target
            self.valid[task.name] = torch.ones_like(target[:, :1], dtype=torch.bool)

    def step_of(self, name: str, settings: dict[str, str]) -> Callable[[], None]:
        """Function that takes one step with a balancing."""
        weights = {task.name: 1.0 for task in self.tasks}
        balancing = create_balancer(name, weights, **settings).to(self.device)
        criterion = Criterion(self.tasks, balancing=balancing)
        own = list(balancing.parameters())
        optimizers = [self.optimizer, *([torch.optim.SGD(own, lr=1e-3)] if own else [])]

        def losses_of() -> dict[str, torch.Tensor]:
            predictions = self.model(self.images)
            return criterion.breakdown(predictions, self.targets, self.valid).per_task()

        def step() -> None:
            if isinstance(balancing, GradientBalancing):
                with balancing.watch(self.model, self.images) as shared:
                    losses = losses_of()
                balancing.backward(losses, shared)
            else:
                losses = losses_of()
                balancing(losses).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            balancing.finish_step({task: loss.detach() for task, loss in losses.items()})

        return step


def seconds(step: Callable[[], None], device: str) -> float:
    """Time of one step."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock() - start


def megabytes(step: Callable[[], None], device: str) -> float:
    """Peak of the memory that one step allocates."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def cases() -> list[tuple[str, str, dict[str, str]]]:
    """Title, name and options of everything that is measured."""
    entries = BALANCERS.entries()
    gradient = [entry.name for entry in entries if issubclass(entry.part, GradientBalancing)]
    others = [entry.name for entry in entries if entry.name not in gradient]
    return [
        *((name, name, {}) for name in sorted(others, key=lambda name: name != "fixed")),
        *((f"{name}, features", name, {"shared": "features"}) for name in gradient),
        *((f"{name}, parameters", name, {"shared": "parameters"}) for name in gradient),
    ]


def main() -> None:
    """Measure all balancings and print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    training = Training(options)
    steps, memory = {}, {}
    for title, name, settings in cases():
        try:
            steps[title] = training.step_of(name, settings)
            for _ in range(2):  # the first steps allocate momentum and find shared parameters
                steps[title]()
        except InputError as error:
            print(f"{title} is left out: {error}")
            steps.pop(title, None)
            continue
        memory[title] = megabytes(steps[title], options.device)
    ratios: dict[str, list[float]] = {title: [] for title in steps}
    base: list[float] = []
    for _ in range(options.rounds):
        times = {title: seconds(step, options.device) for title, step in steps.items()}
        times["fixed"] = (times["fixed"] + seconds(steps["fixed"], options.device)) / 2
        base.append(times["fixed"])
        for title, time_of_step in times.items():
            ratios[title].append(time_of_step / times["fixed"])
    height, width = options.size
    print(
        f"{options.model} on {options.backbone}, {options.tasks} tasks, batch {options.batch}, "
        f"{height} x {width}, {options.device}, {options.threads} thread(s), "
        f"{options.rounds} rounds.\n"
        f"fixed: {statistics.median(base):.3f} s, {memory['fixed']:.0f} MB.\n"
    )
    print("| balancing | time / fixed | range | memory / fixed |")
    print("|---|---:|---:|---:|")
    for title in steps:
        each = ratios[title]
        spread = f"{min(each):.2f} - {max(each):.2f}"
        relative = memory[title] / memory["fixed"]
        print(f"| {title} | {statistics.median(each):.2f} | {spread} | {relative:.2f} |")


if __name__ == "__main__":
    main()
