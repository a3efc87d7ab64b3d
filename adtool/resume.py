"""The state of an unfinished training as one .safetensors file, from which training goes on to the same weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.amp import GradScaler

from adtool import checkpoint
from adtool.errors import AdtoolError, ModelFileError
from adtool.models._detector import Stage


@dataclass
class Position:
    """How far training has come; everything the loop decides by."""

    stage: int = 0
    epoch: int = 0
    """Finished epochs of the stage."""
    step: int = 0
    """Optimisation steps of the stage."""
    epoch_step: int = 0
    """Optimisation steps of the unfinished epoch."""
    loss_sums: list[float] = field(default_factory=list)
    """Sum over the unfinished epoch's steps, one per optimiser."""
    best: float | None = None
    """The lowest loss watched so far in the stage."""
    waited: int = 0
    """Epochs since then."""

    def watch(self, loss: float, min_delta: float) -> bool:
        """Whether the loss of one more epoch is the lowest so far, by more than `min_delta`."""
        if self.best is None or loss < self.best - min_delta:
            self.best, self.waited = loss, 0
            return True
        self.waited += 1
        return False


def save_state(
    path: Path,
    model: nn.Module,
    stages: Sequence[Stage],
    scaler: GradScaler,
    position: Position,
    best: Mapping[str, Tensor] | None,
    identity: Mapping[str, Any],
) -> None:
    """Write weights, best weights, optimisers, schedules and position; `identity` says what the state may continue."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if best is not None:  # equal tensors (a frozen backbone) are stored once
        differing = {name: tensor for name, tensor in best.items() if not tensor.equal(tensors[f"model.{name}"])}
        tensors |= {f"best.{name}": tensor for name, tensor in differing.items()}
    training: dict[str, Any] = {"scaler": scaler.state_dict()}
    if position.stage < len(stages):
        stage = stages[position.stage]
        training["optimizers"] = [optimizer.state_dict() for optimizer in stage.optimizers]
        training["schedules"] = [schedule.state_dict() for schedule in stage.schedules]
    described = _flatten(training, "training", tensors)
    meta = {"kind": "training", "identity": identity, "position": asdict(position), "training": described}
    checkpoint.save(path, tensors, {**meta, "has_best": best is not None})


def load_state(
    path: Path, model: nn.Module, stages: Sequence[Stage], scaler: GradScaler, identity: Mapping[str, Any]
) -> tuple[Position, dict[str, Tensor] | None]:
    """Put a saved state back into model, optimisers and schedules; return the position and the best weights so far.

    Raises ModelFileError when the file is damaged and AdtoolError when it belongs to another training.
    """
    tensors, meta = checkpoint.read(path)
    if meta.get("kind") != "training":
        raise ModelFileError(f"{path}: not the state of an unfinished training; remove the file and train again")
    _check_identity(path, meta["identity"], identity)
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFileError(f"{path}: does not fit the model ({error}); train again without --resume") from error
    position = Position(**meta["position"])
    training = _unflatten(meta["training"], tensors)
    scaler.load_state_dict(training["scaler"])
    if position.stage < len(stages):
        stage = stages[position.stage]
        for optimizer, optimizer_state in zip(stage.optimizers, training["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        for schedule, schedule_state in zip(stage.schedules, training["schedules"], strict=True):
            schedule.load_state_dict(schedule_state)
    if not meta["has_best"]:
        return position, None
    own = model.state_dict()
    return position, {name: tensors.get(f"best.{name}", state[name]).to(own[name].device) for name in own}


def _check_identity(path: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    saved, given = _leaves(saved), _leaves(json.loads(json.dumps(given)))  # tuples become lists, as in the file
    for name in {**given, **saved}:
        if saved.get(name) != given.get(name):
            raise AdtoolError(
                f"{path}: was started with {name} {saved.get(name)}, but now it is {given.get(name)}; resume with the "
                "same data and options, or start anew in another --output"
            )


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts as one, so that a difference can be named: {"config": {"size": 1}} is {"config size": 1}."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= {f"{name} {key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return leaves


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON can hold it, its tensors moved to `tensors` under dotted names."""
    match value:
        case Tensor():
            tensors[name] = value
            return {"tensor": name}
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_flatten(item, f"{name}.{number}", tensors) for number, item in enumerate(value)]
        case tuple():
            return {"tuple": _flatten(list(value), name, tensors)}
        case dict():
            kind = "counter" if isinstance(value, Counter) else "dict"
            return {kind: [[key, _flatten(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    raise TypeError(f"{name}: a {type(value).__name__} in the state of an optimiser or schedule cannot be saved")


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_flatten`."""
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"tuple": items}:
            return tuple(_unflatten(items, tensors))
        case {"dict": items}:
            return {key: _unflatten(item, tensors) for key, item in items}
        case {"counter": items}:
            return Counter({key: _unflatten(item, tensors) for key, item in items})
        case list():
            return [_unflatten(item, tensors) for item in value]
    return value
