import math

import pytest
import torch
from torch import nn

from adtool.layers.content_keys import content_keys
from adtool.layers.diffusion import Diffusion, linear_alpha_bar
from adtool.layers.diffusion_unet import DiffusionUNet
from adtool.ops.philox_normal import philox_normal


class Toy(nn.Module):
    """Predicts noise by an affine function of x that depends on the step; elementwise, so exact in any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def modulations(self, t: torch.Tensor) -> torch.Tensor:
        return torch.stack([0.5 + 0.01 * t, 0.1 - 0.003 * t], dim=1)

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        factor, offset = rows[:, :, None, None, None].unbind(1)
        return factor * x + offset


def images(number: int = 5) -> torch.Tensor:
    return 2 * torch.rand(number, 3, 4, 6, generator=torch.Generator().manual_seed(0)) - 1


def network() -> DiffusionUNet:
    """That of the preset `small`, its last convolutions not zero, as after training."""
    torch.manual_seed(0)
    unet = DiffusionUNet((64, 64), 24, (1, 2, 2), 1, (16,), 64, 8).eval()
    for parameter in unet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.05)
    return unet


def test_the_chain_is_that_of_the_specification():
    """abar_2 = (1 - 1e-4)(1 - 1e-4 - 0.0199 / 999); at 250 the image counts .724 and the noise .690."""
    chain = linear_alpha_bar(1000)
    assert chain[0] == 1 and chain[1].item() == pytest.approx(1 - 1e-4, abs=1e-12)
    assert chain[2].item() == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999), abs=1e-12)
    assert chain[250].sqrt().item() == pytest.approx(0.724, abs=5e-4)
    assert (1 - chain[250]).sqrt().item() == pytest.approx(0.690, abs=5e-4)
    assert linear_alpha_bar(100)[25].sqrt().item() == pytest.approx(0.724, abs=0.01)
    assert 0 < linear_alpha_bar(25)[-1] < 1e-3


def test_the_loss_is_the_mean_square_of_the_noise_that_is_missed():
    diffusion, x, keys = Diffusion(100, seed=3), images(3), torch.tensor([5, 7, 9])
    t = torch.tensor([1, 40, 100])
    abar = linear_alpha_bar(100)[t].float().view(-1, 1, 1, 1)
    z = philox_normal(x, -t, 3, keys)
    noisy = abar.sqrt() * x + (1 - abar).sqrt() * z
    predicted = Toy()(noisy, Toy().modulations(t))
    expected = (predicted - z).square().mean()
    torch.testing.assert_close(diffusion.loss(Toy(), x, t, keys), expected)


def back_by_hand(x: torch.Tensor, key: int, start: int, steps: int, variance: str) -> torch.Tensor:
    """One image led back by the formulas of Ho et al. with x0 clipped, in float64."""
    abar = linear_alpha_bar(steps)
    toy, ids = Toy(), torch.tensor([key])

    def noise(t: int) -> torch.Tensor:
        return philox_normal(x.float(), torch.tensor([t]), 0, ids).double()

    x = abar[start].sqrt() * x + (1 - abar[start]).sqrt() * noise(-start)
    for t in range(start, 0, -1):
        eps = toy(x, toy.modulations(torch.tensor([t])).double())
        beta = 1 - abar[t] / abar[t - 1]
        x0 = ((x - (1 - abar[t]).sqrt() * eps) / abar[t].sqrt()).clamp(-1, 1)
        mean = beta * abar[t - 1].sqrt() / (1 - abar[t]) * x0
        mean = mean + (1 - abar[t - 1]) * (1 - beta).sqrt() / (1 - abar[t]) * x
        spread = beta * (1 - abar[t - 1]) / (1 - abar[t]) if variance == "small" else beta
        x = mean + (t > 1) * spread.sqrt() * noise(t)
    return x


@pytest.mark.parametrize("variance", ["small", "large"])
def test_images_are_led_back_by_the_papers_formulas(variance):
    x, diffusion = images(2), Diffusion(50, variance=variance)
    found = diffusion.restored(Toy(), x, torch.tensor([11, 12]), (20,))[0]
    expected = torch.cat([back_by_hand(x[i : i + 1].double(), 11 + i, 20, 50, variance) for i in range(2)])
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 7, 99])
def test_images_at_different_steps_in_a_batch_are_as_they_are_alone(slots):
    """Bit for bit, whatever shares the batch and whichever slot is filled again."""
    x, diffusion = images(5), Diffusion(50)
    keys = content_keys(x)
    together = diffusion.restored(Toy(), x, keys, (12, 5, 9), slots)
    for image in range(5):
        for member, start in enumerate((12, 5, 9)):
            alone = diffusion.restored(Toy(), x[image : image + 1], keys[image : image + 1] ^ member, (start,))
            assert torch.equal(alone[0, 0], together[member, image])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_holds_for_a_network_that_convolves_norms_and_attends(threads):
    unet, x = network(), 2 * torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 1
    diffusion, keys = Diffusion(50, stride=3, eta=0.5), content_keys(x)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            together = diffusion.restored(unet, x, keys, (9, 4), 3)
            largest = diffusion.restored(unet, x, keys, (9, 4))
            alone = [diffusion.restored(unet, x[i : i + 1], keys[i : i + 1], (9, 4)) for i in range(4)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, torch.cat(alone, 1)) and torch.equal(together, largest)


def test_a_slot_is_filled_again_when_its_image_is_done():
    """Chains of 4, 4, 4, 2, 2 and 2 steps in two slots: the last one alone is left over, for two steps."""
    toy = Toy()
    Diffusion(50).restored(toy, images(3), torch.arange(3), (2, 4), 2)
    assert toy.seen == [2] * 8 + [1] * 2


def test_strides_take_fewer_steps():
    for stride, calls in ((0, 25), (1, 25), (10, 3), (25, 1), (40, 1)):
        toy = Toy()
        Diffusion(50, stride=stride).restored(toy, images(1), torch.arange(1), (25,))
        assert len(toy.seen) == calls


class Knowing(Toy):
    """Predicts exactly the noise by which x differs from the images it knows."""

    def __init__(self, known: torch.Tensor, steps: int) -> None:
        super().__init__()
        self.known, self.abar = known, linear_alpha_bar(steps).float()

    def modulations(self, t: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.abar[t], t.float()], dim=1)

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        abar = rows[:, 0].view(-1, 1, 1, 1)
        return (x - abar.sqrt() * self.known) / (1 - abar).sqrt()


@pytest.mark.parametrize("stride", [0, 1, 7])
def test_who_knows_the_noise_gets_the_image_back(stride):
    x = images(2)
    found = Diffusion(100, stride=stride).restored(Knowing(x, 100), x, torch.tensor([3, 4]), (60,))[0]
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


def test_noise_is_that_of_key_seed_and_member():
    x, keys = images(1).repeat(2, 1, 1, 1), torch.tensor([1 << 60, 2])
    first, second = Diffusion(50).restored(Toy(), x, keys, (20, 20))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    same = Diffusion(50).restored(Toy(), x, keys[:1].repeat(2), (20,))[0]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], first[0])
    assert not torch.equal(Diffusion(50, seed=1).restored(Toy(), x, keys, (20,))[0], first)


def test_only_eta_makes_ddims_steps_random():
    x, keys = images(1), torch.tensor([1])
    results = [
        Diffusion(50, stride=stride, eta=eta).restored(Toy(), x, keys, (20,))[0]
        for stride, eta in ((1, 0.0), (1, 1.0), (0, 0.0))
    ]
    torch.testing.assert_close(results[1], results[2], rtol=1e-4, atol=1e-5)  # eta = 1, stride 1 is DDPM
    assert (results[0] - results[1]).abs().max() > 1e-3


def test_schedules_are_no_part_of_a_model_file():
    assert Diffusion(50).state_dict() == {} and math.isclose(Diffusion(50).noising[0, 0].item(), 1)
