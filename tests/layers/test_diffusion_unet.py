import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from adtool.layers.diffusion_unet import Attention, DiffusionUNet, ResidualBlock, step_embedding


@pytest.mark.parametrize(("base", "millions", "gigamacs"), [(128, 138.3, 278.5), (64, 34.6, 69.7)])
def test_sizes_are_those_of_the_specification(base, millions, gigamacs):
    with torch.device("meta"):
        network = DiffusionUNet((256, 256), base)
        with FlopCounterMode(display=False) as counter:
            noise = network(torch.empty(1, 3, 256, 256), network.modulations(torch.empty(1, dtype=torch.int64)))
    assert noise.shape == (1, 3, 256, 256)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    convolved = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    assert convolved / 2e9 == pytest.approx(gigamacs, abs=0.05)


def test_attention_is_at_three_resolutions_on_both_ways_and_in_the_middle():
    with torch.device("meta"):
        network = DiffusionUNet((256, 256))
    names = set(network.attentions)
    assert len(names) == 3 * 2 + 3 * 3 + 1
    channels = [attention.norm.num_channels for attention in network.attentions.values()]
    assert channels.count(256) == 2 + 3 and channels.count(512) == 2 * (2 + 3) + 1
    assert {attention.heads for attention in network.attentions.values()} == {4, 8}


def test_steps_are_embedded_by_waves():
    """Frequencies 1 and 1/100 of four numbers: cos 3, cos 0.03, sin 3, sin 0.03."""
    found = step_embedding(torch.tensor([0, 3]), 4)
    expected = [[1, 1, 0, 0], [math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03)]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("resample", ["", "down", "up"])
def test_a_block_is_that_of_its_authors(resample):
    torch.manual_seed(0)
    block = ResidualBlock(8, 12, 4, resample).double()
    torch.nn.init.normal_(block.convs[1].weight)
    x, told = torch.randn(2, 8, 6, 4).double(), torch.randn(2, 24).double()

    def resampled(y):
        if resample == "down":
            return (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3) if resample == "up" else y

    first, second = block.norms
    hidden = resampled(F.silu(F.group_norm(x, 4, first.weight, first.bias)))
    hidden = F.conv2d(hidden, block.convs[0].weight, block.convs[0].bias, padding=1)
    hidden = F.group_norm(hidden, 4, second.weight, second.bias)
    hidden = F.silu(hidden * (1 + told[:, :12, None, None]) + told[:, 12:, None, None])
    expected = block.along(resampled(x)) + block.convs[1](hidden)
    torch.testing.assert_close(block(x, told), expected)
    with torch.no_grad():  # other kernels answer then
        torch.testing.assert_close(block.float()(x.float(), told.float()), expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("head", "heads"), [(4, 2), (8, 1), (5, 1)])
def test_attention_is_softmax_over_all_places(head, heads):
    torch.manual_seed(0)
    attention = Attention(8, 2, head).double()
    torch.nn.init.normal_(attention.out.weight)
    x = torch.randn(2, 8, 3, 5).double()
    parts = attention.qkv(attention.norm(x)).flatten(2).split(8, 1)
    seen = []
    for queries, keys, values in zip(*(part.chunk(heads, 1) for part in parts), strict=True):
        weights = (queries.transpose(1, 2) @ keys / math.sqrt(8 // heads)).softmax(2)  # (N, from, to)
        seen.append(values @ weights.transpose(1, 2))
    expected = x + attention.out(torch.cat(seen, 1).view_as(x))
    torch.testing.assert_close(attention(x), expected)


def small() -> DiffusionUNet:
    torch.manual_seed(0)
    return DiffusionUNet((16, 24), 8, (1, 2, 2), 1, (8,), 8, 4)


def test_it_begins_with_no_noise_at_all():
    network = small()
    assert not network(torch.randn(2, 3, 16, 24), network.modulations(torch.tensor([1, 2]))).any()


def test_every_parameter_learns_and_the_step_counts():
    network = small()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.1)
    x = torch.randn(2, 3, 16, 24)
    found = [network(x, network.modulations(torch.tensor(steps))) for steps in ([3, 9], [3, 8])]
    assert torch.equal(found[0][0], found[1][0]) and not torch.allclose(found[0][1], found[1][1])
    found[0].square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_prediction_and_training_agree():
    """Without gradients other kernels answer, and activations are in place."""
    network, x = small(), torch.randn(3, 3, 16, 24)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.1)
    told = network.modulations(torch.tensor([3, 9, 1])).detach()
    with torch.no_grad():
        predicted = network(x, told)
    torch.testing.assert_close(predicted, network(x, told), rtol=1e-4, atol=1e-5)
