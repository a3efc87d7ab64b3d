"""The only training loop: a model's stages, their losses stepped as they are yielded, early stopping, and resuming.

Every random number a step draws follows from (seed, stage, step), the order of images from (seed, epoch), and what an
image is paired with from (seed, stage, epoch, image), so a resumed training draws the same ones as an uninterrupted one
and ends with the same weights on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from adtool.data.batches import ImageBatches
from adtool.devices import autocast, best_precision, memory_format, placed, reproducible, step
from adtool.encoding import EncodedBatches
from adtool.errors import AdtoolError
from adtool.interrupt import Interrupt, deferred
from adtool.models._detector import Detector, Report, Stage, silent
from adtool.pairing import PairedBatches
from adtool.resume import Position, load_state, save_state
from adtool.validation import derived_seed, finite, held_out_loss, learnt_nothing

SAVE_SECONDS = 60.0
"""How much work a crash may cost."""


def ignore(event: Mapping[str, Any]) -> None:
    """Log nothing."""


@dataclass
class _Training:
    """What the functions of this file hand each other."""

    model: Detector
    stages: list[Stage]
    images: ImageBatches
    validation: ImageBatches | None
    seed: int
    device: torch.device
    precision: torch.dtype
    scaler: GradScaler
    log: Callable[[Mapping[str, Any]], None]
    report: Report
    checkpoint: Path | None
    save_seconds: float
    identity: Mapping[str, Any]
    position: Position = field(default_factory=Position)
    best: dict[str, Tensor] | None = None
    saved_at: float = field(default_factory=time.monotonic)
    interrupt: Interrupt = field(default_factory=Interrupt)
    batches: Any = None
    """The images as the stage takes them: as they are, in pairs, or encoded."""
    watched: Any = None
    """The validation images likewise."""

    @property
    def stage(self) -> Stage:
        return self.stages[self.position.stage]


def train(
    model: Detector,
    images: ImageBatches,
    *,
    seed: int = 0,
    validation: ImageBatches | None = None,
    device: torch.device | str = "cpu",
    precision: torch.dtype | None = None,
    log: Callable[[Mapping[str, Any]], None] = ignore,
    report: Report = silent,
    checkpoint: Path | None = None,
    save_seconds: float = SAVE_SECONDS,
    identity: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> None:
    """Train the stages of `model` in order and leave it with its best weights, in eval mode on `device`.

    `validation` are held-out good images for stages that watch a validation loss. `checkpoint` is the file that keeps
    the state every `save_seconds` seconds, at the end of a stage and on Ctrl-C; with `resume` training goes on from it,
    where `identity` (data, configuration, seed) must be what the state was saved with. `precision` is float32, bfloat16
    or float16; None is what `best_precision` says. Seeds torch's global generator.

    Raises AdtoolError when a loss is not finite or a state belongs to another training; KeyboardInterrupt after saving.
    """
    device = torch.device(device)
    precision = precision or best_precision(device)
    model.to(device)
    training = _Training(
        model=model,
        stages=model.stages(),
        images=images,
        validation=validation,
        seed=seed,
        device=device,
        precision=precision,
        scaler=GradScaler(device.type, enabled=precision == torch.float16),
        log=log,
        report=report,
        checkpoint=checkpoint,
        save_seconds=save_seconds,
        identity=identity or {},
    )
    if resume:
        _resume(training)
    with reproducible(), deferred() as training.interrupt:  # a step is finished before the state is saved
        model.to(memory_format=memory_format(device))  # type: ignore[call-overload]
        while training.position.stage < len(training.stages):
            _train_stage(training)
    model.eval()


def _save(training: _Training) -> None:
    """Write the state, where one is kept, and stop here if a person asked for it."""
    if training.checkpoint is not None:
        model, stages, scaler = training.model, training.stages, training.scaler
        save_state(training.checkpoint, model, stages, scaler, training.position, training.best, training.identity)
    training.saved_at = time.monotonic()
    if training.interrupt.requested:
        raise KeyboardInterrupt


def _resume(training: _Training) -> None:
    """Take up the saved state; where there is none, training was stopped before its first and starts anew."""
    path = training.checkpoint
    if path is not None and path.exists():
        state = load_state(path, training.model, training.stages, training.scaler, training.identity)
        training.position, training.best = state
    training.log({"event": "resume", "stage": training.position.stage, "step": training.position.step})


def _train_stage(training: _Training) -> None:
    """Run a stage to its end, its limit or its early stop, restore its best weights, and move on to the next."""
    stage, position = training.stage, training.position
    training.log({"event": "stage", "stage": stage.name, "step": position.step, "steps": _total_steps(training)})
    reason = "done"
    training.batches = _taken(training, training.images)
    training.watched = _taken(training, training.validation) if stage.validate is not None else None
    while position.epoch < stage.epochs and (position.epoch_step or not _at_limit(training)):
        _train_epoch(training)
        if stage.patience is not None and position.waited >= stage.patience:
            reason = f"no better for {position.waited} epochs"
            break
    training.report(f"training {stage.name}", position.step, position.step)
    _tell_untaught(training)
    if training.best is not None:
        training.model.load_state_dict(training.best)
    training.log({"event": "end", "stage": stage.name, "step": position.step, "why": reason, "best": position.best})
    training.position, training.best = Position(stage=position.stage + 1), None
    training.batches = training.watched = None
    _save(training)


def _taken(training: _Training, images: ImageBatches | None) -> Any:
    """The images as the stage takes them: as they are, in pairs, or what its frozen part makes of them."""
    encode = training.stage.encode
    if images is not None and training.stage.paired:
        return PairedBatches(images, training.seed, training.stage.name)
    if images is None or encode is None:
        return images
    total = len(images)

    def visit(done: int) -> None:
        training.report("encoding", done, total)
        if training.interrupt.requested:
            _save(training)

    training.model.eval()
    return EncodedBatches(images, encode, device=training.device, precision=training.precision, visit=visit)


def _train_epoch(training: _Training) -> None:
    """The rest of an epoch, its validation, and a line in the log."""
    stage, position = training.stage, training.position
    start, first_step = time.monotonic(), position.step
    training.model.train()
    _train_batches(training)
    seconds = time.monotonic() - start
    losses = [total / position.epoch_step for total in position.loss_sums]
    validation = _held_out(training, stage.validate)
    position.epoch, position.epoch_step, position.loss_sums = position.epoch + 1, 0, []
    _watch(training, losses, validation)
    images = (position.step - first_step) * min(stage.batch_size, len(training.images))
    training.log(
        {
            "event": "epoch",
            "stage": stage.name,
            "epoch": position.epoch,
            "step": position.step,
            "losses": losses,
            "validation": validation,
            "learning_rates": [group["lr"] for optimizer in stage.optimizers for group in optimizer.param_groups],
            "seconds": seconds,
            "images_per_second": images / seconds if seconds else None,
        }
    )


def _train_batches(training: _Training) -> None:
    """The steps of an epoch that are still to do, with the state saved every so often."""
    stage, position = training.stage, training.position
    batches = training.batches.shuffled(training.seed, position.epoch, stage.batch_size)
    for batch in islice(batches, position.epoch_step, None):
        if _at_limit(training):
            break
        training.report(f"training {stage.name}", position.step, _total_steps(training))
        _train_step(training, batch)
        if training.interrupt.requested or time.monotonic() - training.saved_at >= training.save_seconds:
            _save(training)
    if position.epoch_step == 0:
        raise AdtoolError(f"training {stage.name}: there are no images to train on; add pictures of good parts")


def _train_step(training: _Training, batch: Any) -> None:
    """One batch: step each optimiser on its loss before the stage computes the next loss."""
    stage, position = training.stage, training.position
    torch.manual_seed(derived_seed(training.seed, stage.name, position.step))
    losses = stage.losses(placed(batch, training.device))
    values: list[float] = []
    for optimizer in stage.optimizers:
        with autocast(training.device, training.precision):
            loss = next(losses, None)
        if loss is None:
            raise AdtoolError(_miscounted(stage, len(values)))
        values.append(finite(loss, f"training {stage.name}", f"step {position.step + 1}"))
        optimizer.zero_grad()
        training.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        step(optimizer, training.scaler, stage.clip)
    if next(losses, None) is not None:
        raise AdtoolError(_miscounted(stage, len(values) + 1))
    _tell_notices(training)
    training.scaler.update()
    for schedule in stage.schedules:
        schedule.step()
    position.loss_sums = [a + b for a, b in zip(position.loss_sums or [0.0] * len(values), values, strict=True)]
    position.step += 1
    position.epoch_step += 1


def _tell_notices(training: _Training) -> None:
    """Log what the model noticed in the step."""
    for text in training.model.notices:
        _notice(training, training.position.step + 1, text)
    training.model.notices = ()


def _tell_untaught(training: _Training) -> None:
    """Log it where a stage that is over has learnt nothing that held-out images show."""
    nothing = _held_out(training, training.stage.untaught)
    best = training.position.best
    if nothing is not None and best is not None and best >= nothing:
        _notice(training, training.position.step, learnt_nothing(best, nothing))


def _notice(training: _Training, step: int, text: str) -> None:
    training.log({"event": "notice", "stage": training.stage.name, "step": step, "text": text})


def _held_out(training: _Training, loss: Callable[[Any], Tensor] | None) -> float | None:
    """A loss of the stage over the held-out images; None without the one or the other."""
    if loss is None or training.watched is None:
        return None
    torch.manual_seed(derived_seed(training.seed, training.stage.name, -1))
    training.model.eval()
    where = f"training {training.stage.name}", f"validation after step {training.position.step}"
    return held_out_loss(loss, training.watched, training.device, training.precision, where)


def _watch(training: _Training, losses: list[float], validation: float | None) -> None:
    """Keep the weights with the lowest validation loss or, for a stage with patience alone, training loss."""
    position, stage = training.position, training.stage
    if validation is None and stage.patience is None:
        return
    loss = sum(losses) if validation is None else validation
    if position.watch(loss, stage.min_delta):
        training.best = {name: tensor.detach().clone() for name, tensor in training.model.state_dict().items()}


def _total_steps(training: _Training) -> int:
    stage = training.stage
    steps = stage.epochs * max(1, len(training.images) // stage.batch_size)
    return steps if stage.max_steps is None else min(steps, stage.max_steps)


def _at_limit(training: _Training) -> bool:
    limit = training.stage.max_steps
    return limit is not None and training.position.step >= limit


def _miscounted(stage: Stage, losses: int) -> str:
    return f"training {stage.name}: the model yielded {losses} losses for {len(stage.optimizers)} optimisers"
