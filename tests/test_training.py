"""The training loop: order of steps, limits and early stopping worked by hand; a stopped training goes on exactly."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import Batched, Config, Model, Scripted

from adtool import checkpoint
from adtool.errors import AdtoolError, ModelFileError
from adtool.models._detector import Detector, Pairs, Stage
from adtool.training import train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Pair(Detector):
    """Two numbers: `leader` descends to 1, and `follower` to where the leader is."""

    def __init__(self, losses_given: int = 2) -> None:
        super().__init__()
        self.leader = nn.Parameter(torch.zeros(()))
        self.follower = nn.Parameter(torch.zeros(()))
        self.losses_given = losses_given

    def stages(self) -> list[Stage]:
        optimizers = [torch.optim.SGD([number], 0.5) for number in (self.leader, self.follower)]
        return [Stage("pair", self.losses, optimizers, 1, 2, max_steps=2)]

    def losses(self, images: Tensor) -> Iterator[Tensor]:
        yield (self.leader - 1).square()
        for _ in range(self.losses_given - 1):
            yield (self.follower - self.leader).square()


def test_each_loss_sees_the_steps_before_it_and_no_gradient_is_left_over() -> None:
    # leader: 0 - 0.5 * 2 (0 - 1) = 1, then stays; the follower sees 1 at once: 0 - 0.5 * 2 (0 - 1) = 1.
    # The second loss pulls at the leader with -2 (0 - 1) = 2, which would bring it back to 0 in the second step.
    model = Pair()
    events: list[Any] = []
    train(model, Batched(4), log=events.append)
    assert (model.leader.item(), model.follower.item()) == (1.0, 1.0)
    epoch = next(event for event in events if event["event"] == "epoch")
    assert epoch["losses"] == [0.5, 0.5]  # 1 and 0 for the leader, 1 and 0 for the follower
    assert epoch["learning_rates"] == [0.5, 0.5]


@pytest.mark.parametrize("losses", [1, 3])
def test_another_number_of_losses_than_optimisers_is_an_error(losses: int) -> None:
    with pytest.raises(AdtoolError, match=f"yielded {losses} losses for 2 optimisers"):
        train(Pair(losses), Batched(4))


def test_max_steps_ends_a_stage_inside_an_epoch() -> None:
    model = Scripted()
    model.scripted = [model.climbing(epochs=10, max_steps=3)]
    progress: list[tuple[str, int, int]] = []
    train(model, Batched(4), report=lambda *row: progress.append(row))
    assert model.value.item() == 3.0  # 2 steps an epoch
    assert progress == [("training climb", step, 3) for step in range(4)]


class Encoding(Detector):
    """A frozen number and a learned one: the loss compares what `encode` made of the images with the learned one."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.encoded = 0

    def stages(self) -> list[Stage]:
        def encode(images: Tensor) -> list[Tensor]:
            self.encoded += len(images)
            assert not self.training
            return [images.mean((2, 3)), images.amax((1, 2, 3))]

        def loss(features: list[Tensor]) -> Tensor:
            means, peaks = features
            assert means.shape[1:] == (3,) and len(means) == len(peaks)
            return (self.value - peaks.mean()).square()

        optimizer = torch.optim.SGD([self.value], 0.25)
        return [Stage("encoded", lambda batch: iter([loss(batch)]), [optimizer], 30, 2, validate=loss, encode=encode)]


def test_a_stage_with_a_frozen_part_sees_each_image_encoded_once() -> None:
    model, images = Encoding(), Batched(6)
    progress: list[tuple[str, int, int]] = []
    train(model, images, validation=Batched(4), report=lambda *row: progress.append(row))
    assert model.encoded == 10
    assert model.value.item() == pytest.approx(images.images.amax((1, 2, 3)).mean().item(), abs=1e-2)
    assert ("encoding", 4, 6) in progress and ("encoding", 6, 6) in progress


class Pairing(Detector):
    """A learned number that follows what it sees of images, other images and seeds; it keeps what it was given."""

    def __init__(self, batch_size: int = 2, epochs: int = 3) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.batch_size, self.epochs = batch_size, epochs
        self.shown: list[Pairs] = []
        self.watched: list[Pairs] = []

    def stages(self) -> list[Stage]:
        def loss(pairs: Pairs) -> Tensor:
            (self.shown if torch.is_grad_enabled() else self.watched).append(pairs)
            numbers = torch.stack([*map(self.number, pairs)])
            return (self.value - numbers.mean()).square()

        optimizer = torch.optim.SGD([self.value], 0.05)
        stage = Stage("paired", lambda pairs: iter([loss(pairs)]), [optimizer], self.epochs, self.batch_size)
        stage.validate, stage.paired = loss, True
        return [stage]

    @staticmethod
    def number(part: Tensor) -> Tensor:
        return part.double().flatten(1).mean() if part.dim() == 4 else (part % 1000).double().mean() / 1000


def samples(shown: list[Pairs]) -> list[tuple[list[float], list[float], int]]:
    """Each sample as its first pixels, those of its other image, and its seed."""
    return [
        (image[0, 0].tolist(), other[0, 0].tolist(), int(seed))
        for pairs in shown
        for image, other, seed in zip(*pairs, strict=True)
    ]


def test_a_paired_stage_sees_the_same_pairs_whatever_its_batch_size() -> None:
    one, three = Pairing(1), Pairing(3)
    for model in (one, three):
        train(model, Batched(6), validation=Batched(4, batch_size=3), seed=2)
    assert len(three.shown) == 6 and three.shown[0].seeds.shape == (3,)
    assert samples(one.shown) == samples(three.shown)


def test_a_paired_stage_watches_the_same_pairs_every_time() -> None:
    model = Pairing()
    train(model, Batched(6), validation=Batched(4, batch_size=3), seed=2)
    seen = samples(model.watched)
    assert len(seen) == 3 * 4 and seen[:4] == seen[4:8] == seen[8:]


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_paired_stage_resumes_to_the_same_pairs_and_weights(tmp_path: Path, stop: int) -> None:
    settings: dict[str, Any] = {"validation": Batched(4), "checkpoint": tmp_path / "state", "seed": 5}
    whole, stopped, resumed = Pairing(), Pairing(), Pairing()

    def interrupt(what: str, step: int, total: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, Batched(7), report=interrupt, **settings)
    train(resumed, Batched(7), resume=True, **settings)
    train(whole, Batched(7), validation=Batched(4), seed=5)
    assert samples(stopped.shown + resumed.shown) == samples(whole.shown)
    assert whole.value.item() == resumed.value.item() != stopped.value.item()


def test_a_stage_is_paired_or_encoded() -> None:
    with pytest.raises(ValueError, match="stage x: images are paired or encoded, not both"):
        Stage("x", lambda images: iter([]), [], 1, 1, encode=lambda images: [images], paired=True)


def test_stages_run_in_order_and_schedules_step_with_each_step() -> None:
    model = Scripted()
    halving = model.climbing(max_steps=2)
    halving.schedules = [torch.optim.lr_scheduler.StepLR(halving.optimizers[0], 1, 0.5)]
    model.scripted = [model.climbing(rate=8.0), halving]
    train(model, Batched(6))
    assert model.value.item() == 3 * 8 + 1 + 0.5


def test_a_stage_may_limit_the_length_of_a_gradient() -> None:
    """Two numbers pulled with (3, 4) and (6, 8): both gradients become (0.6, 0.8) under a norm of 1."""
    lengths = []
    for clip in (None, 1.0, 100.0):
        model = Scripted()
        model.pair = nn.Parameter(torch.zeros(2))
        pulls = iter([torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])])
        optimizer = torch.optim.SGD([model.pair], 1.0)
        stage = Stage("pull", lambda images: iter([-(model.pair * next(pulls)).sum()]), [optimizer], 1, 2, clip=clip)  # noqa: B023
        model.scripted = [stage]
        train(model, Batched(4))
        lengths.append(model.pair.tolist())
    assert lengths[0] == lengths[2] == [9.0, 12.0]
    assert lengths[1] == pytest.approx([1.2, 1.6])


def test_early_stopping_restores_the_best_weights() -> None:
    # watched:   5 best | 4 best | 4.05 worse | 3.95 better by less than 0.1 | never reached
    watched = iter([5.0, 4.0, 4.05, 3.95, 0.0])
    model = Scripted()

    def validate(images: Tensor) -> Tensor:
        return torch.tensor(next(watched), dtype=torch.float64)

    model.scripted = [model.climbing(epochs=10, validate=validate, patience=2, min_delta=0.1)]
    events: list[Any] = []
    train(model, Batched(4), validation=Batched(4), log=events.append)
    assert next(watched) == 0.0  # four epochs ran
    assert model.value.item() == 4.0  # 2 steps an epoch, the weights after the second
    assert [event["validation"] for event in events if event["event"] == "epoch"] == [5.0, 4.0, 4.05, 3.95]
    end = events[-1]
    assert (end["event"], end["best"], end["why"], end["step"]) == ("end", 4.0, "no better for 2 epochs", 8)


def test_early_stopping_watches_the_training_loss_without_held_out_images() -> None:
    # Each epoch's loss is higher than the one before, so the first is best.
    model = Scripted()
    model.scripted = [model.climbing(epochs=10, worse=True, patience=3, validate=lambda images: images.mean())]
    train(model, Batched(4))
    assert model.value.item() == 2.0


def test_a_stage_that_watches_nothing_keeps_its_last_weights() -> None:
    model = Scripted()
    model.scripted = [model.climbing(epochs=3, worse=True)]
    train(model, Batched(4))
    assert model.value.item() == 6.0


def test_validation_is_weighted_by_batch_and_leaves_no_trace_in_the_model() -> None:
    seen: list[bool] = []
    model = Scripted()

    def validate(images: Tensor) -> Tensor:
        seen.append(model.training or torch.is_grad_enabled())
        return torch.tensor(float(len(images)))

    model.scripted = [model.climbing(validate=validate)]
    events: list[Any] = []
    train(model, Batched(4), validation=Batched(5, batch_size=3), log=events.append)
    assert next(event["validation"] for event in events if event["event"] == "epoch") == (3 * 3 + 2 * 2) / 5
    assert seen == [False, False]
    assert not model.training


def test_validation_draws_the_same_random_numbers_every_time() -> None:
    model = Scripted()
    model.scripted = [model.climbing(epochs=3, validate=lambda images: torch.rand(()))]
    events: list[Any] = []
    train(model, Batched(4), validation=Batched(4), log=events.append)
    assert len({event["validation"] for event in events if event["event"] == "epoch"}) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_stage_and_step_before_it_harms_the_weights(bad: float) -> None:
    model = Scripted()
    values = iter([1.0, 1.0, bad])
    stage = model.climbing(epochs=5)
    stage.losses = lambda images: iter([-model.value * next(values)])
    model.scripted = [stage]
    with pytest.raises(AdtoolError, match=r"training climb: the loss became (nan|-?inf) at step 3.*learning rate"):
        train(model, Batched(4))
    assert model.value.item() == 2.0


def test_no_images_is_an_error() -> None:
    with pytest.raises(AdtoolError, match="no images to train on"):
        train(Model(Config()), Batched(0))


def toy(seed: int = 0, **changes: Any) -> Model:
    torch.manual_seed(seed)
    return Model(Config(**{"epochs": 4, "learning_rate": 0.05, **changes}))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, third = toy(), toy(), toy()
    train(first, Batched(13), validation=Batched(5), seed=3)
    torch.rand(5)
    train(second, Batched(13), validation=Batched(5), seed=3)
    train(third, Batched(13), validation=Batched(5), seed=4)
    assert same(first, second)
    assert not same(first, third)


@pytest.mark.parametrize("stop", [1, 3, 8])  # 3 steps an epoch: inside the first, at the end of one, inside the third
def test_ctrl_c_saves_and_resuming_gives_the_weights_of_an_uninterrupted_training(tmp_path: Path, stop: int) -> None:
    state = tmp_path / "training.safetensors"
    settings: dict[str, Any] = {"validation": Batched(5), "seed": 3, "checkpoint": state, "identity": {"seed": 3}}
    whole, stopped, resumed = toy(), toy(), toy(seed=99)

    def interrupt(what: str, step: int, total: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, Batched(13), report=interrupt, **settings)
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoint.read_meta(state)["position"]["step"] == stop + 1  # the step under way was finished
    train(resumed, Batched(13), resume=True, **settings)
    train(whole, Batched(13), validation=Batched(5), seed=3)
    assert same(whole, resumed)
    assert not same(whole, stopped)


@pytest.mark.parametrize("stop", [("encoding", 4), ("training encoded", 7)])
def test_a_stage_with_a_frozen_part_resumes_to_the_same_weights(tmp_path: Path, stop: tuple[str, int]) -> None:
    settings: dict[str, Any] = {"validation": Batched(4), "checkpoint": tmp_path / "state"}
    whole, stopped, resumed = Encoding(), Encoding(), Encoding()

    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, Batched(6), report=interrupt, **settings)
    assert stopped.encoded == (4 if stop[0] == "encoding" else 10)
    train(resumed, Batched(6), resume=True, **settings)
    train(whole, Batched(6), validation=Batched(4))
    assert whole.value.item() == resumed.value.item() != stopped.value.item()


class Adversarial(Detector):
    """A generator of one number against a judge, each with its optimiser and schedule; the judge is drawn anew at will.

    The reconstruction error on held-out images falls and rises again, while the training losses tell nothing of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.judge = nn.Linear(3, 3), nn.Linear(3, 1)
        self.count = nn.Parameter(torch.zeros(()), requires_grad=False)
        nn.init.zeros_(self.generator.weight)
        nn.init.zeros_(self.generator.bias)

    def stages(self) -> list[Stage]:
        parts = (self.generator, self.judge)
        adams = [torch.optim.Adam(part.parameters(), 0.03, betas=(0.5, 0.999)) for part in parts]
        schedules = [torch.optim.lr_scheduler.ExponentialLR(adam, decay) for adam, decay in zip(adams, (0.9, 0.8))]  # noqa: B905
        stage = Stage("adversarial", self.losses, adams, 6, 4, schedules=schedules, validate=self.error, min_delta=0.0)
        return [stage]

    def losses(self, images: Tensor) -> Iterator[Tensor]:
        means = images.mean((2, 3)) + 0.1 * torch.rand(len(images), 3)
        restored = self.generator(means)
        yield self.judge(restored).mean() + (restored - 3 * means).square().mean()
        yield self.judge(means).mean().square() - self.judge(restored.detach()).mean()
        self.count += 1
        if self.count % 5 == 0:
            nn.init.normal_(self.judge.weight)
            self.notices += (f"judge drawn anew after {int(self.count)}",)

    def error(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        return (self.generator(means) - means).square().mean()


def test_a_gan_keeps_the_weights_with_the_lowest_error_on_held_out_images() -> None:
    model, watched = Adversarial(), Batched(5)
    events: list[Any] = []
    train(model, Batched(13), validation=watched, seed=3, log=events.append)
    epochs = [event for event in events if event["event"] == "epoch"]
    errors = [event["validation"] for event in epochs]
    assert errors.index(min(errors)) in (1, 2, 3, 4)  # neither the first epoch nor the last: the choice matters
    assert events[-1]["best"] == min(errors)
    with torch.no_grad():
        kept = model.error(watched.images).item()
    assert kept == pytest.approx(min(errors), rel=1e-5)
    assert all(len(event["losses"]) == len(event["learning_rates"]) == 2 for event in epochs)
    assert epochs[-1]["learning_rates"] == pytest.approx([0.03 * 0.9**18, 0.03 * 0.8**18])


def test_what_a_model_notices_is_logged_once_with_its_step() -> None:
    model = Adversarial()
    events: list[Any] = []
    train(model, Batched(13), seed=3, log=events.append)
    told = [(event["stage"], event["step"], event["text"]) for event in events if event["event"] == "notice"]
    assert told == [("adversarial", step, f"judge drawn anew after {step}") for step in (5, 10, 15)]
    assert model.notices == ()


@pytest.mark.parametrize(("share", "told"), [(0.0, 1), (1.0, 1), (1.01, 0)], ids=["far below", "as low", "above"])
def test_a_network_that_is_no_better_than_none_is_named(share: float, told: int) -> None:
    """`untaught` is a share of the lowest error on the held-out images."""
    validation: dict[str, Any] = {"validation": Batched(5), "seed": 3}
    torch.manual_seed(0)
    train(Adversarial(), Batched(13), log=(events := []).append, **validation)
    best = events[-1]["best"]

    class Untaught(Adversarial):
        def stages(self) -> list[Stage]:
            return [dataclasses.replace(stage, untaught=self.nothing) for stage in super().stages()]

        def nothing(self, images: Tensor) -> Tensor:
            assert not self.training
            return torch.tensor(share * best, dtype=torch.float64)

    torch.manual_seed(0)
    train(Untaught(), Batched(13), log=(events := []).append, **validation)
    notices = [event for event in events if event["event"] == "notice" and "drawn anew" not in event["text"]]
    assert len(notices) == told and events[-1]["event"] == "end"
    for notice in notices:
        assert (notice["stage"], notice["step"]) == ("adversarial", 18)
        assert f"{best:.3g} from them at best, and {share * best:.3g} is" in notice["text"]
    train(Untaught(), Batched(13), seed=3, log=(events := []).append)
    assert not [event for event in events if "learnt nothing" in event.get("text", "")], "nothing was held out"


@pytest.mark.parametrize("stop", [3, 4, 9])  # before and after the judge is drawn anew, and at an epoch's end
def test_a_gan_resumes_to_the_same_weights_notices_and_best(tmp_path: Path, stop: int) -> None:
    settings: dict[str, Any] = {"validation": Batched(5), "checkpoint": tmp_path / "state", "seed": 3}
    torch.manual_seed(0)
    whole = Adversarial()
    stopped, resumed = copy.deepcopy(whole), Adversarial()
    events: list[list[Any]] = [[], []]

    def interrupt(what: str, step: int, total: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, Batched(13), report=interrupt, log=events[0].append, **settings)
    train(resumed, Batched(13), resume=True, log=events[0].append, **settings)
    train(whole, Batched(13), validation=Batched(5), seed=3, log=events[1].append)
    assert same(whole, resumed)
    notices = [[event for event in log if event["event"] == "notice"] for log in events]
    assert notices[0] == notices[1] and len(notices[0]) == 3
    assert events[0][-1] == events[1][-1]


def test_resuming_a_stage_that_was_stopped_at_its_limit_still_watches_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validation": Batched(5), "checkpoint": tmp_path / "state", "save_seconds": 0.0}
    whole, stopped, resumed = toy(max_steps=4), toy(max_steps=4), toy(max_steps=4)

    def interrupt(what: str, step: int, total: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, Batched(13), report=interrupt, **settings)
    events: list[Any] = []
    train(resumed, Batched(13), resume=True, log=events.append, **settings)
    train(whole, Batched(13), validation=Batched(5))
    assert [event["event"] for event in events] == ["resume", "stage", "epoch", "end"]
    assert same(whole, resumed)


def test_the_best_weights_outlast_a_stop(tmp_path: Path) -> None:
    def interrupt(what: str, step: int, total: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    for attempt in ("stopped", "resumed"):
        model = Scripted()
        model.scripted = [model.climbing(epochs=10, worse=True, patience=4)]
        events: list[Any] = []
        arguments: dict[str, Any] = {"checkpoint": tmp_path / "state", "log": events.append}
        if attempt == "stopped":
            with pytest.raises(KeyboardInterrupt):
                train(model, Batched(4), report=interrupt, **arguments)
        else:
            train(model, Batched(4), resume=True, **arguments)
    assert model.value.item() == 2.0  # as it was after the first epoch, three before the stop
    assert (events[-1]["step"], events[-1]["best"]) == (10, 0.5)


def test_a_finished_training_resumes_to_itself(tmp_path: Path) -> None:
    done, again = toy(), toy(seed=99)
    train(done, Batched(13), checkpoint=tmp_path / "state")
    events: list[Any] = []
    train(again, Batched(13), checkpoint=tmp_path / "state", resume=True, log=events.append)
    assert same(done, again)
    assert [event["event"] for event in events] == ["resume"]


def test_resuming_something_else_says_what_differs(tmp_path: Path) -> None:
    train(toy(), Batched(13), checkpoint=tmp_path / "state", identity={"model": "toy", "seed": 3})
    with pytest.raises(AdtoolError, match="was started with seed 3, but now it is 4; resume with the same"):
        train(toy(), Batched(13), checkpoint=tmp_path / "state", identity={"model": "toy", "seed": 4}, resume=True)
    with pytest.raises(ModelFileError, match="does not fit the model"):
        train(Scripted(), Batched(13), checkpoint=tmp_path / "state", identity={"model": "toy", "seed": 3}, resume=True)


def test_a_full_disk_stops_training_with_the_older_state_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"checkpoint": tmp_path / "state", "save_seconds": 0.0}
    synced: list[int] = []

    def full_after_two_states(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 4:  # file and folder of each state
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_after_two_states)
    with pytest.raises(AdtoolError, match="No space left on device"):
        train(toy(), Batched(13), **settings)
    assert checkpoint.read_meta(tmp_path / "state")["position"]["step"] == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "state"]
    monkeypatch.undo()
    whole, resumed = toy(), toy()
    train(resumed, Batched(13), resume=True, checkpoint=tmp_path / "state")
    train(whole, Batched(13))
    assert same(whole, resumed)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_computes_in_it_and_learns(precision: torch.dtype) -> None:
    model = toy(epochs=8)
    dtypes = set()
    model.decoder.register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    events: list[Any] = []
    train(model, Batched(13), precision=precision, log=events.append)
    losses = [event["losses"][0] for event in events if event["event"] == "epoch"]
    assert dtypes == {precision}
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
