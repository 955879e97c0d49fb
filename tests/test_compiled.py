"""Loops over frames: TorchScript where torch has it, Python where it has not, with the same result."""

from importlib.util import find_spec, module_from_spec
from unittest.mock import patch

import pytest
import torch

from ds2toolkit.model.compiled import compiled
from ds2toolkit.model.recurrence import CELLS


def in_python(cell: str) -> type[torch.autograd.Function]:
    """The cell's function as a torch without TorchScript loads it."""
    spec = find_spec(CELLS[cell].__module__)
    module = module_from_spec(spec)
    with patch("torch.jit.script", side_effect=RuntimeError("not supported")):
        spec.loader.exec_module(module)
    assert module._steps.__module__ == module._steps_back.__module__ == module.__name__
    return getattr(module, cell.upper())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_ways", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_script_computes_what_python_does(cell, num_ways, dtype):
    torch.manual_seed(1)
    num_gates, num_hidden, lengths = CELLS[cell].num_gates, 160, torch.tensor([9, 4, 7])
    mask_TB1 = (torch.arange(9)[:, None] < lengths)[..., None].to(dtype)
    wx_TBG = torch.randn(9, 3, num_gates * num_hidden).to(dtype)
    u_2GH = 0.1 * torch.randn(num_ways, num_gates * num_hidden, num_hidden).to(dtype)
    results = []
    for function in (CELLS[cell], in_python(cell)):
        wx, u = wx_TBG.clone().requires_grad_(), u_2GH.clone().requires_grad_()
        hidden_TBH = function.apply(wx, u, mask_TB1, 20.0)
        hidden_TBH.square().sum().backward()
        results.append((hidden_TBH, wx.grad, u.grad))
    for ours, pythons in zip(*results):
        assert ours.abs().sum() > 0 and torch.equal(ours, pythons)


def test_every_cell_is_compiled_on_this_torch():
    modules = [__import__(function.__module__, fromlist=["_steps"]) for function in CELLS.values()]
    loops = [loop for module in modules for loop in (module._steps, module._steps_back)]
    assert all(isinstance(loop, torch.jit.ScriptFunction) for loop in loops)


def test_what_cannot_be_compiled_stays_as_it_is():
    def steps(frame: torch.Tensor) -> torch.Tensor:
        return torch.ops.ds2.operation_of_another_torch(frame)

    assert compiled(steps) is steps
