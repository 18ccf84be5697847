"""Your own training loop: plain PyTorch, without accelerate."""

import torch
from torch.utils.data import DataLoader

import taskprism
from taskprism.data import collate, create_protocol
from taskprism.losses import Criterion

options = {"input_size": (64, 96), "train_length": 16, "test_length": 4}
protocol = create_protocol("rooms", tasks=["semseg", "depth"], **options)
model = taskprism.create_model("mti_net", protocol.tasks, backbone="test_resnet")
criterion = Criterion(model.tasks)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def loader(split: str, transform: object) -> DataLoader:
    dataset = protocol.dataset(split, transform)
    return DataLoader(dataset, batch_size=4, collate_fn=lambda s: collate(s, protocol.tasks))


for epoch in range(2):
    model.train()
    for batch in loader("train", protocol.train_transform()):
        outputs = model(model.normalize(batch.images))
        loss, _ = criterion(outputs, batch.targets, batch.valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

model.eval().requires_grad_(False)  # from here on, no gradients are computed
metrics = {task.name: task.metrics() for task in protocol.tasks}
for batch in loader("test", protocol.evaluation_transform()):
    outputs = model(model.normalize(batch.images))
    for task in protocol.tasks:
        labels = batch.targets[task.name], batch.valid[task.name]
        task.update_metrics(metrics[task.name], outputs[task.name], *labels)
print({name: metric.compute() for name, metric in metrics.items()})
