from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

import taskprism
from models.base import ModelTests
from taskprism.errors import UnknownNameError
from taskprism.models import MTINet, PADNet, TPIMNet, create_model

QUICK: dict[str, Any] = {"distillation_options": {"iterations": 2}}


class TestTPIM(ModelTests):
    name = "tpim"
    options: ClassVar[dict[str, Any]] = QUICK

    def test_without_attention_it_is_mti_net(self) -> None:
        """As the paper states, with values of 0 the distillation is that of MTI-Net."""
        model = self.make("branches").eval()
        for module in model.distillations:
            for blocks in module.blocks.values():
                for block in blocks.values():
                    torch.nn.init.zeros_(block.value[1].weight)
        plain = create_model("mti_net", self.tasks, backbone="hrnet_w18_small").eval()
        state = {}
        for name, value in model.state_dict().items():
            if ".blocks." not in name:
                state[name] = value
            elif ".own." in name:
                state[name.replace(".blocks.", ".messages.").replace(".own.", ".")] = value
        plain.load_state_dict(state)
        with torch.no_grad():
            ours, theirs = model(self.images()), plain(self.images())
        torch.testing.assert_close(ours["depth"], theirs["depth"])

    def test_attention_works_on_the_grid_of_stride_16(self) -> None:
        assert [module.downscale for module in self.make().distillations] == [4, 2, 1, 1]

    def test_width_of_the_task_features(self) -> None:
        model = self.make("branches", task_channels=8)
        assert [distil.channels for distil in model.distillations] == [8] * 4

    def test_distillation_cannot_be_chosen(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'distillation'\. Did you mean"):
            self.make(distillation="ctal")


class TestSingleScaleTPIM(ModelTests):
    name = "tpim"
    options: ClassVar[dict[str, Any]] = {**QUICK, "single_scale": True, "channels": 16}

    def test_it_is_pad_net_with_tpim(self, tmp_path) -> None:
        model = self.make()
        assert isinstance(model, PADNet)
        assert isinstance(model, TPIMNet)
        assert not isinstance(model, MTINet)
        assert len(model(self.images()).initial) == 1
        assert model.distillation.downscale == 4
        model.save_pretrained(tmp_path)
        assert type(taskprism.load(tmp_path)) is type(model)
        assert type(TPIMNet.from_pretrained(tmp_path)) is type(model)

    def test_options_of_mti_net_are_unknown(self) -> None:
        with pytest.raises(UnknownNameError, match="'fpm_reduction'"):
            self.make(fpm_reduction=1)
