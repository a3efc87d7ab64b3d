"""The state of optimisers and schedules as JSON and tensors, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler

from adtool.resume import _flatten, _unflatten


def round_trip(value: Any) -> Any:
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_flatten(value, "training", tensors), allow_nan=False)
    return _unflatten(json.loads(text), tensors)


def test_values_keep_their_types_and_keys() -> None:
    value = {0: (0.9, 0.999), "list": [1, None, True, {"deep": (1, [2])}], "counter": Counter({5: 1, 9: 2}), "x": 0.1}
    back = round_trip(value)
    assert back == value
    assert type(back["counter"]) is Counter
    assert type(back["list"][3]["deep"]) is tuple


def test_tensors_are_kept_apart_under_their_path() -> None:
    tensors: dict[str, Tensor] = {}
    flat = _flatten({"state": {0: {"step": torch.tensor(3.0)}}, "list": [torch.ones(2)]}, "training", tensors)
    assert sorted(tensors) == ["training.list.0", "training.state.0.step"]
    assert _unflatten(json.loads(json.dumps(flat)), tensors)["state"][0]["step"].item() == 3.0


def test_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(TypeError, match="training.made: a set"):
        _flatten({"made": {1}}, "training", {})


def optimizers() -> dict[str, torch.optim.Optimizer]:
    torch.manual_seed(0)
    kinds: dict[str, Any] = {
        "adam": lambda p: torch.optim.Adam(p, 0.1, amsgrad=True),
        "adamw": lambda p: torch.optim.AdamW([{"params": p[:1], "weight_decay": 0.0}, {"params": p[1:]}], 0.1),
        "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    }
    return {name: make([torch.nn.Parameter(torch.randn(3)) for _ in range(2)]) for name, make in kinds.items()}


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]] = {
    "multi step": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.5),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 9),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    "two after each other": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, 1, 3), lr_scheduler.ExponentialLR(optimizer, 0.9)], [3]
    ),
}


def step(optimizer: torch.optim.Optimizer, schedule: lr_scheduler.LRScheduler, number: int) -> list[list[float]]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for _ in range(number):
        optimizer.zero_grad()
        sum((parameter - 3).square().sum() for parameter in parameters).backward()
        optimizer.step()
        schedule.step()
    return [parameter.tolist() for parameter in parameters]


@pytest.mark.parametrize("name", optimizers())
@pytest.mark.parametrize("which", SCHEDULES)
def test_every_optimiser_and_schedule_goes_on_as_if_never_stopped(name: str, which: str) -> None:
    whole = optimizers()[name]
    expected = step(whole, SCHEDULES[which](whole), 7)
    stopped = optimizers()[name]
    schedule = SCHEDULES[which](stopped)
    values = step(stopped, schedule, 3)
    state, schedule_state = round_trip(stopped.state_dict()), round_trip(schedule.state_dict())
    resumed = optimizers()[name]
    next_schedule = SCHEDULES[which](resumed)
    resumed.load_state_dict(state)
    next_schedule.load_state_dict(schedule_state)
    parameters = [parameter for group in resumed.param_groups for parameter in group["params"]]
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(torch.tensor(value))
    assert step(resumed, next_schedule, 4) == expected
