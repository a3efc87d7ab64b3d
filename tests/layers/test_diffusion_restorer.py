import pytest
import torch

from adtool.layers import diffusion_restorer
from adtool.layers.content_keys import content_keys
from adtool.layers.diffusion import Diffusion
from adtool.layers.diffusion_restorer import DiffusionRestorer
from adtool.layers.diffusion_unet import DiffusionUNet


def tiny(*, reduction: int = 1, ema: float = 0.0) -> DiffusionRestorer:
    torch.manual_seed(0)
    network = DiffusionUNet((16, 16), 8, (1, 2), 1, (8,), 8, 4)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.1)
    return DiffusionRestorer(network, Diffusion(50), 25, reduction, ema).eval()


def images(number: int = 4, side: int = 16) -> torch.Tensor:
    return 2 * torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(1)) - 1


def test_restorations_do_not_depend_on_order_or_company():
    x, restorer = images(), tiny()
    order = torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        found = restorer.restored(x, (10, 4), 3)
        assert torch.equal(restorer.restored(x[order], (10, 4), 16), found[order])
        assert torch.equal(restorer.restored(x[1:2], (10, 4), 1), found[1:2])
        assert not torch.equal(restorer.restored(x + 1e-6, (10, 4), 3), found)


@pytest.mark.parametrize(("device", "slots", "most"), [("cpu", 0, 4), ("other", 0, 16), ("cpu", 7, 7), ("other", 3, 3)])
def test_the_device_says_how_many_are_restored_at_a_time_unless_told(device, slots, most, monkeypatch):
    monkeypatch.setattr(diffusion_restorer, "SLOTS", {device: 4})
    x, restorer = images(number=20), tiny()
    seen = []
    restorer.network.first.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.inference_mode():
        restorer.restored(x, (3,), slots)
    assert max(seen) == most


def test_several_starts_give_the_mean():
    x, restorer = images(), tiny()
    with torch.inference_mode():
        both = restorer.restored(x, (10, 4), 16)
        each = restorer.diffusion.restored(restorer.predictor, x, content_keys(x), (10, 4))
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1])


def test_smaller_images_are_noised_and_restorations_enlarged():
    x, restorer = images(side=32), tiny(reduction=2)
    sizes = []
    restorer.network.first.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[2:]))
    with torch.inference_mode():
        found = restorer.restored(x, (3,), 16)
    assert found.shape == x.shape and set(sizes) == {(16, 16)}


def test_the_watched_error_is_always_the_same_and_the_mean_over_images():
    x, restorer = images(), tiny()
    with torch.no_grad():
        together = restorer.error(x)
        parts = [restorer.error(x[i : i + 1]) for i in (3, 1, 0, 2)]
    assert together.item() == pytest.approx(sum(part.item() for part in parts) / 4, rel=1e-5)
    assert len({part.item() for part in parts}) == 4


def test_the_loss_follows_from_the_seed():
    x, restorer = images(), tiny()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(restorer.loss(x).item())
    assert losses[0] == losses[1] != losses[2]


def test_the_average_predicts_and_is_what_remains():
    x, restorer = images(), tiny(ema=0.9)
    with torch.inference_mode():
        before = restorer.restored(x, (5,), 16)
    optimizer = torch.optim.SGD(restorer.learnt(), 0.1)
    optimizer.register_step_post_hook(restorer.follow)
    restorer.loss(x).backward()
    optimizer.step()
    assert restorer.average.steps == 1
    with torch.inference_mode():
        after = restorer.restored(x, (5,), 16)
        restorer.discard()
        restorer.discard()
        assert torch.equal(restorer.restored(x, (5,), 16), after) and not torch.equal(after, before)
    assert all(name.startswith("average.") for name in restorer.state_dict())


def test_without_an_average_the_network_remains():
    restorer = tiny()
    restorer.discard()
    assert restorer.predictor is restorer.network
