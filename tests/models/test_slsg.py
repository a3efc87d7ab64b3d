import os
import signal
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adtool.data import open_dataset
from adtool.data.batches import ImageBatches
from adtool.data.sample_set import write_sample_set
from adtool.errors import AdtoolError
from adtool.layers.simulation import SLSG
from adtool.metrics.ranking import auroc
from adtool.models._detector import Pairs
from adtool.models.slsg import Config, Model
from adtool.training import train

TINY = {"height": 64, "width": 64, "channels": 8, "last_stride": 1, "mask_patch": 4, "discriminator_channels": 4}


def tiny(**values) -> Model:
    torch.manual_seed(0)
    return Model(Config().override(**{**TINY, **values}))


def pairs(count=4, start=0) -> Pairs:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(count, 3, 8, 8, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return Pairs(images, images.roll(1, 0), start + torch.arange(count))


def step(stage, batch) -> list[float]:
    """One batch as training takes it; the losses."""
    found = []
    for optimizer, loss in zip(stage.optimizers, stage.losses(batch), strict=True):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def count(*modules) -> float:
    """Parameters in millions."""
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def test_paper_preset_has_the_parameters_and_operations_of_the_specification():
    """SegNet 20.05 M (encoder 11.18 M), 22.1 GFLOP with its auxiliary head; D-Net 2.77 M."""
    with torch.device("meta"):
        model = Model(Config.preset("paper")).eval()
        with FlopCounterMode(display=False) as counter:
            _, deepest = model.segment(torch.empty(1, 3, 256, 256))
            model.segmenter_head(deepest, (256, 256))
    assert count(model.encoder) == pytest.approx(11.18, abs=0.005)
    assert count(model.encoder, model.sg_block, model.segmenter, model.segmenter_head) == pytest.approx(20.05, abs=5e-3)
    assert counter.get_total_flops() / 1e9 == pytest.approx(22.1, abs=0.05)
    assert count(model.inpainting.discriminator) == pytest.approx(2.77, abs=0.005)


@pytest.mark.parametrize("preset", ["paper", "small"])
def test_the_graph_has_sixty_four_nodes(preset):
    with torch.device("meta"):
        model = Model(Config.preset(preset))
    assert model.sg_block.position.shape == (64, model.encoder.widths[-1])


def test_paper_preset_hides_eighty_percent_of_the_cells():
    model = Model(Config.preset("paper").override(mask_large=False))
    assert model.hidden(torch.arange(2)).sum((1, 2, 3)).tolist() == [819 * 64] * 2
    cells = tiny(mask_large=False, mask_unit="cells", mask_patch=8)  # 8 x 8 cells of 8 pixels
    assert cells.hidden(torch.arange(2)).sum((1, 2, 3)).tolist() == [51 * 64] * 2


def test_paper_preset_simulates_as_the_paper_does():
    assert Model(Config.preset("paper").override(channels=8)).simulation == SLSG
    changed = tiny(own=0.4, bent=0.1, recoloured=0.2, rectangular=0.3, feather=5.0, logical_delta=(0.7, 0.9))
    assert changed.simulation == replace(
        SLSG, own=0.4, bent=0.1, recoloured=0.2, rectangular=0.3, feather=5.0, logical_delta=(0.7, 0.9)
    )


@pytest.mark.parametrize("settings", [{}, {"encoder_init": "frozen", "last_stride": 2}, {"attention": False}], ids=str)
def test_scoring_without_norms_is_the_same_network(settings):
    """Where no gradient is recorded norms are part of convolutions; a step of training is seen by the next scoring."""
    model, images = tiny(**settings), pairs().images
    for _ in range(2):
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        logits, deepest = model.eval().segment(images)
        with torch.inference_mode():
            scored, deep = model.segment(images)
        torch.testing.assert_close(scored, logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(deep, deepest, rtol=1e-3, atol=1e-4)
        assert not torch.equal(scored, logits)
        step(model.train().stages()[-1], pairs())


SWITCHES = [
    {"mask_patch": 8},
    {"mask_ratio": 0.6},
    {"mask_large": False},
    {"mask_unit": "cells", "mask_patch": 4},
    {"encoder_init": "random"},
    {"encoder_init": "frozen"},
    {"turned": 0.0},
    {"own": 1.0},
    {"own": 1.0, "turned": 0.0, "bent": 1.0},
    {"own": 1.0, "turned": 0.0, "recoloured": 1.0},
    {"rectangular": 1.0},
    {"logical_jitter": 0.0},
    {"logical_delta": (0.9, 1.0)},
    {"feather": 40.0},
    {"least_change": 0.3},
    {"views": 1.0},
    {"freeze_encoder": True},
    {"structural": False},
    {"logical": False},
    {"foreground": "100 dark"},
    {"shape": "rectangles"},
    {"skip": False},
    {"attention": False},
    {"gcn": False},
    {"attention": False, "gcn": False},
    {"attention": False, "gcn": False, "skip": False},
    {"eliminate_ps": False},
    {"neighbours": 7},
    {"key_reduction": 4},
    {"l1_weight": 0.0},
    {"focal_weight": 0.0},
    {"auxiliary_weight": 0.0},
    {"gamma": 2.0},
    {"adversarial_weight": 0.0},
    {"restoration_weight": 0.0},
    {"deep_restoration_weight": 0.0},
    {"last_stride": 2},
    {"optimizer": "adam", "learning_rate": 1e-3},
    {"momentum": 0.0},
    {"weight_decay": 0.0},
    {"top_pixels": 1000},
    {"warm_up": 0.5},
]


def outcome(**values) -> list[float]:
    """Losses of three steps of every stage, rates included, then scores."""
    model = tiny(steps=6, **values)
    found = []
    for stage in model.stages():
        for number in range(3):
            found += step(stage, pairs(start=10 * number))
            for schedule in stage.schedules:
                schedule.step()
    model.eval()
    with torch.inference_mode():
        return found + model.predict(pairs().images).scores.tolist()


@pytest.fixture(scope="module")
def usual() -> list[float]:
    return outcome()


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_trains_and_changes_the_result(switch, usual):
    found = outcome(**switch)
    assert torch.tensor(found).isfinite().all() and found != usual


def test_the_same_seed_gives_the_same_losses_and_scores(usual):
    assert outcome() == usual


def test_the_second_stage_goes_on_with_the_encoder_of_the_first():
    model = tiny()
    restore, segment = model.stages()
    assert [restore.name, segment.name] == ["restore", "segment"]
    before = [parameter.clone() for parameter in model.encoder.parameters()]
    step(restore, pairs())
    moved = list(model.encoder.parameters())
    assert not any(map(torch.equal, before, moved))
    trained = {id(p) for group in segment.optimizers[0].param_groups for p in group["params"]}
    assert {id(p) for p in moved} <= trained
    segmenting = [model.encoder, model.sg_block, model.segmenter, model.segmenter_head]
    assert trained == {id(p) for part in segmenting for p in part.parameters()}


@pytest.mark.parametrize("start", ["random", "imagenet"])
def test_other_starts_have_no_first_stage(start):
    channels = 64 if start == "imagenet" else 8
    model = tiny(encoder_init=start, channels=channels)
    assert [stage.name for stage in model.stages()] == ["segment"] and not hasattr(model, "inpainting")


def test_published_weights_become_the_encoders_and_may_be_trained():
    model = tiny(encoder_init="imagenet", channels=64, last_stride=2)
    model.prepare([])
    published = model.backbones["published"].network
    assert all(map(torch.equal, model.encoder.parameters(), published.parameters()))
    step(model.stages()[0], pairs())
    assert not torch.equal(model.encoder.conv1.weight, published.conv1.weight)


def test_a_frozen_encoder_stays_as_the_first_stage_left_it():
    model = tiny(freeze_encoder=True)
    restore, segment = model.stages()
    step(restore, pairs())
    left = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    step(segment, pairs())
    assert all(torch.equal(value, left[name]) for name, value in model.encoder.state_dict().items())


def test_each_step_of_the_first_stage_moves_its_own_network_alone():
    model = tiny()
    restore = model.stages()[0]
    losses = restore.losses(pairs())
    judge = list(model.inpainting.discriminator.parameters())
    generator = [*model.encoder.parameters(), *model.inpainting.generator()]
    next(losses).backward()
    assert all(p.grad is not None for p in judge) and all(p.grad is None for p in generator)
    restore.optimizers[0].zero_grad()
    next(losses).backward()
    assert all(p.grad is None for p in judge) and all(p.grad is not None for p in generator)
    assert next(losses, None) is None and all(p.requires_grad for p in judge)
    for optimizer, parameters in zip(restore.optimizers, (judge, generator), strict=True):
        assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in parameters}


def test_the_first_network_sees_nothing_of_what_is_hidden():
    model = tiny()
    batch = pairs()
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.encoder.levels = lambda images: seen.append(images) or type(model.encoder).levels(model.encoder, images)
    next(model.stages()[0].losses(batch))
    hidden = model.hidden(batch.seeds).bool().expand(-1, 3, -1, -1)
    assert (seen[0][hidden] == 0.5).all() and hidden.any() and not hidden.all()
    assert torch.equal(seen[0][~hidden], batch.images[~hidden])


def test_half_of_a_batch_is_as_it_was_and_half_has_a_defect():
    model = tiny()
    batch, seen = pairs(6), []
    segment = model.segment
    model.segment = lambda images: seen.append(images) or segment(images)
    next(model.stages()[1].losses(batch))
    assert torch.equal(seen[0][:3], batch.images[:3])
    shown = model.preview(batch)
    assert torch.equal(seen[0][3:], shown.images[3:]) and shown.masks[3:].amax((1, 2, 3)).all()


def test_the_learning_rate_rises_to_its_value_and_falls_to_its_last():
    stage = tiny(steps=20, warm_up=0.2, learning_rate=0.04, final_rate=1e-4).stages()[1]
    rates = []
    for _ in range(21):
        rates.append(stage.optimizers[0].param_groups[0]["lr"])
        stage.optimizers[0].step()
        stage.schedules[0].step()
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((0.01, 0.04, 1e-4))


def test_optimisers_and_lengths_are_the_papers():
    restore, segment = Model(Config.preset("paper")).stages()
    judge, generator = (optimizer.param_groups[0] for optimizer in restore.optimizers)
    assert (judge["lr"], generator["lr"], generator["betas"]) == (6e-4, 1e-3, (0.5, 0.999))
    assert (restore.epochs, restore.max_steps, restore.batch_size) == (40, None, 6)
    descent = segment.optimizers[0].param_groups[0]
    assert (descent["initial_lr"], descent["momentum"], descent["weight_decay"]) == (0.04, 0.9, 5e-4)
    assert (segment.max_steps, segment.batch_size, segment.clip) == (3500, 8, 5.0)


@pytest.mark.parametrize(("size", "pixels"), [((256, 256), 100), ((128, 128), 25), ((64, 32), 3), ((16, 16), 1)])
def test_the_image_score_is_the_mean_of_as_large_a_share_of_the_largest_pixels(size, pixels):
    model = tiny(height=size[0], width=size[1]).eval()
    with torch.inference_mode():
        maps, scores = model.predict(torch.rand(2, 3, *size))
    torch.testing.assert_close(scores, maps.flatten(1).sort(descending=True).values[:, :pixels].mean(1))
    assert maps.min() >= 0 and maps.max() <= 1


def test_discarding_leaves_what_predicts():
    model = tiny()
    model.discard()
    assert {name for name, _ in model.named_children()} == {"encoder", "sg_block", "segmenter"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 100}, "needs both in multiples of 16"),
        ({"last_stride": 2, "width": 48}, "multiples of 32"),
        ({"last_stride": 3}, "--set last_stride=3: expected one of 1, 2"),
        ({"mask_unit": "inches"}, "--set mask_unit=inches"),
        ({"encoder_init": "clip"}, "--set encoder_init=clip.*inpainting"),
        ({"optimizer": "lamb"}, "--set optimizer=lamb"),
        ({"shape": "star"}, "shape 'star'"),
        ({"mask_ratio": 1.5}, "--set mask_ratio=1.5"),
        ({"recoloured": -0.1}, "--set recoloured=-0.1: expected a share"),
        ({"feather": -1.0}, "--set feather=-1.0: expected at least 0"),
        ({"logical_delta": (0.9, 0.5)}, "--set logical_delta=0.9,0.5: expected two shares"),
        ({"logical_delta": (0.5, 1.5)}, "--set logical_delta=0.5,1.5: expected two shares"),
        ({"neighbours": 0}, "--set neighbours=0: expected at least 1"),
        ({"structural": False, "logical": False}, "neither structural nor logical"),
        ({"encoder_init": "imagenet", "channels": 32}, "--set channels=32"),
    ],
)
def test_configs_that_cannot_work_are_refused(values, words):
    with pytest.raises(AdtoolError, match=words):
        tiny(**values)


def test_a_few_steps_on_a_few_drawn_pictures_find_the_defects_in_them(tmp_path):
    root = write_sample_set(tmp_path / "set", "object", size=64, train=6, good=0, per_defect=0)
    images = next(iter(ImageBatches(open_dataset(root).split("train"), (64, 64))))
    model = tiny(channels=16, optimizer="adam", learning_rate=5e-3, steps=60)
    restore, segment = model.stages()
    batch = Pairs(images, images.roll(1, 0), torch.arange(6))
    for stage, steps in ((restore, 5), (segment, 60)):
        for _ in range(steps):
            step(stage, batch)
            for schedule in stage.schedules:
                schedule.step()
    shown = model.preview(batch)
    with torch.inference_mode():
        maps, scores = model.eval().predict(torch.cat([images[:3], shown.images[3:]]))
    inside = shown.masks[3:] > 0
    assert auroc(inside.numpy().ravel(), maps[3:].numpy().ravel()) > 0.95
    assert scores[3:].min() > scores[:3].max()


@pytest.mark.parametrize("stop", [("restore", 2), ("segment", 3)])
def test_a_stopped_training_goes_on_to_the_same_weights(stop, tmp_path):
    root = write_sample_set(tmp_path / "set", "object", size=64, train=8, good=0, per_defect=0)
    images = ImageBatches(open_dataset(root).split("train"), (64, 64))

    def trained(**values) -> dict[str, torch.Tensor]:
        model = tiny(pretrain_steps=3, pretrain_batch_size=4, batch_size=4, steps=4, optimizer="adam")
        train(model, images, **values)
        return model.state_dict()

    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) == (f"training {stop[0]}", stop[1]):
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path / "state.safetensors", report=interrupt)
    resumed = trained(checkpoint=tmp_path / "state.safetensors", resume=True)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize(("shared", "least", "logical"), [(True, 0.5, True), (False, 0.5, False), (False, 0.0, True)])
def test_good_images_without_a_layout_in_common_get_no_logical_defects(shared, least, logical):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1 if shared else 20, 3, 64, 64, generator=generator).expand(20, -1, -1, -1)
    model = tiny(encoder_init="random", least_layout=least)
    model.prepare([images[:8], images[8:]])
    expected = model.config.foreground if logical else "none"
    assert (model.simulation.logical, model.simulation.foreground) == (logical, expected)
    assert len(model.notices) == (not logical) and all("5%" in notice for notice in model.notices)
