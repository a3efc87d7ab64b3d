import torch

from adtool.layers.gan import PatchDiscriminator, discriminator_loss, generator_loss


def test_discriminator_has_the_parameters_and_the_map_of_the_specification():
    with torch.device("meta"):
        network = PatchDiscriminator()
        judged = network(torch.empty(2, 3, 256, 256))
    assert judged.shape == (2, 1, 30, 30)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 2.77


def test_each_patch_sees_seventy_pixels():
    network = PatchDiscriminator(8).eval()
    images = torch.zeros(1, 3, 256, 256, requires_grad=True)
    network(images)[0, 0, 15, 15].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert seen.any(1).sum() == seen.any(0).sum() == 70


def test_least_squares_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])
    assert discriminator_loss(real, fake).item() == 0.5 * (0 + 4) / 2 + 0.5 * (0 + 4) / 2
    assert generator_loss(fake).item() == 0.5 * (1 + 1) / 2
