from __future__ import annotations

import pytest
import torch

from models.base import ModelTests
from taskprism.errors import InputError, UnknownNameError


class TestMTINet(ModelTests):
    name = "mti_net"

    def test_initial_predictions_at_every_scale(self) -> None:
        model = self.make("branches").eval()
        with torch.no_grad():
            initial = model(self.images(1, (65, 97))).initial
        sizes = [tuple(scale["semseg"].shape[-2:]) for scale in initial]
        assert sizes == [(17, 25), (9, 13), (5, 7), (3, 4)]

    def test_composes_its_parts(self) -> None:
        """The order of computation from coarse to fine, with the model's own layers."""
        model = self.make("branches", auxiliary_tasks={"edge": 1}).eval()
        images = self.images()
        front = model.front_end
        with torch.no_grad():
            outputs = model(images)
            maps = model.backbone(images)
            received = None
            features = {}
            for scale in (3, 2, 1, 0):
                for task in ("semseg", "depth", "edge"):
                    x = maps[scale]
                    if received is not None:
                        up = torch.nn.functional.interpolate(
                            received[task], scale_factor=2, mode="bilinear"
                        )
                        x = torch.cat([x, up], dim=1)
                    features[scale, task] = front.heads[scale][task].refine(x)
                    expected = front.heads[scale][task].predict(features[scale, task])
                    torch.testing.assert_close(outputs.initial[scale][task], expected)
                if scale:
                    own = {t: features[scale, t] for t in ("semseg", "depth", "edge")}
                    received = front.propagation[scale - 1](own)
            refined = [
                model.distillations[s]({t: features[s, t] for t in ("semseg", "depth", "edge")})
                for s in range(4)
            ]
            expected = torch.nn.functional.interpolate(
                model.heads["depth"]([each["depth"] for each in refined]),
                size=images.shape[-2:],
                mode="bilinear",
            )
        torch.testing.assert_close(outputs["depth"], expected)

    @pytest.mark.parametrize("scales", [(0,), (0, 1), (1, 3), (0, 1, 2, 3)])
    @pytest.mark.parametrize("propagation", [True, False])
    def test_any_subset_of_scales(self, scales: tuple[int, ...], propagation: bool) -> None:
        model = self.make("branches", scales=scales, propagation=propagation)
        outputs = model(self.images())
        assert len(outputs.initial) == len(scales)
        assert outputs["semseg"].shape == (2, 5, *self.size)

    def test_without_propagation_scales_are_independent(self) -> None:
        model = self.make("branches", propagation=False)
        maps = [x.detach().requires_grad_() for x in model.backbone(self.images())]
        model.front_end(maps)[1][0]["depth"].sum().backward()
        assert maps[0].grad is not None
        assert all(x.grad is None for x in maps[1:])

    def test_without_propagation_the_order_of_tasks_is_free(self) -> None:
        model = self.make("branches", propagation=False).eval()
        turned = self.make("branches", propagation=False, tasks={"depth": 1, "semseg": 5}).eval()
        turned.load_state_dict(model.state_dict())
        with torch.no_grad():
            a, b = model(self.images()), turned(self.images())
        torch.testing.assert_close(a["depth"], b["depth"])

    @pytest.mark.parametrize(
        ("task_channels", "widths"), [(8, (8, 8, 8, 8)), ([8, 12, 20, 32], (8, 12, 20, 32))]
    )
    def test_width_of_the_task_features(
        self, task_channels: int | list[int], widths: tuple[int, ...]
    ) -> None:
        model = self.make("pyramid", task_channels=task_channels, head="high_resolution").eval()
        with torch.no_grad():
            features, initial = model.front_end(model.backbone(self.images()))
        assert tuple(each["depth"].shape[1] for each in features) == widths
        assert [each["semseg"].shape[1] for each in initial] == [5] * 4
        assert [distil.channels for distil in model.distillations] == list(widths)

    def test_task_features_are_as_wide_as_the_maps_by_default(self) -> None:
        given = self.make("branches").state_dict()
        widths = self.make("branches").backbone.channels
        same = self.make("branches", task_channels=list(widths)).state_dict()
        assert all(torch.equal(value, same[key]) for key, value in given.items())

    def test_initial_heads_that_classify(self) -> None:
        """Regions of the relational context are classes; predictions are their expected values."""
        model = self.make(
            "branches", categorical_heads=True, distillation="relational_context"
        ).eval()
        seen: list[dict[str, int]] = []
        model.distillations[0].register_forward_hook(
            lambda module, given, result: seen.append({k: v.shape[1] for k, v in given[1].items()})
        )
        with torch.no_grad():
            initial = model(self.images()).initial
        assert seen == [{"semseg": 5, "depth": 40}]
        assert [each["depth"].shape[1] for each in initial] == [1] * 4
        smallest, largest = model.tasks[1].category_range
        for each in initial:
            assert smallest < each["depth"].min() <= each["depth"].max() < largest

    @pytest.mark.parametrize(
        ("task_channels", "message"),
        [
            (0, "task_channels must be an integer from 1 to 65536, got 0"),
            ([8, 8, 8, -1], r"task_channels.* integer.*"),
            ([8, 8], r"task_channels=.*4 of them"),
            ([8] * 5, r"task_channels=.*4 of them"),
        ],
    )
    def test_bad_widths(self, task_channels: int | list[int], message: str) -> None:
        with pytest.raises(InputError, match=message):
            self.make("branches", task_channels=task_channels)

    @pytest.mark.parametrize("scales", [(), (1, 0), (0, 0), (4,), (-1,)])
    def test_scales_that_do_not_exist(self, scales: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="finest first"):
            self.make("branches", scales=scales)

    def test_bad_options(self) -> None:
        with pytest.raises(UnknownNameError, match=r"propagation_softmax of .*'task'.*'tasks'"):
            self.make(propagation_softmax="task")
        with pytest.raises(InputError, match=r"fpm_reduction must be .* got 0"):
            self.make(fpm_reduction=0)
        with pytest.raises(UnknownNameError, match="head 'deep_lab'"):
            self.make(head="deep_lab")
