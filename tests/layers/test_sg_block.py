import pytest
import torch
from torch.nn.functional import conv2d, normalize

from adtool.layers.sg_block import SGBlock, position_encoding


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block(channels=8, size=(3, 4), **values) -> SGBlock:
    torch.manual_seed(0)
    return SGBlock(channels, size, **values).double()


def plain(sg: SGBlock, features: torch.Tensor) -> torch.Tensor:
    """Eq. 2 to 7 written out, neighbours from the whole matrix."""
    batch, channels, height, width = features.shape
    nodes = features.reshape(batch, channels, -1).transpose(1, 2)

    def convolved(layer):
        return conv2d(features, layer.weight, layer.bias).reshape(batch, -1, height * width).transpose(1, 2)

    f, g, found = nodes, nodes, []
    if sg.attention:
        f, g, h = convolved(sg.query), convolved(sg.key), convolved(sg.value)
        found.append(torch.softmax(f @ g.transpose(1, 2) / f.shape[2] ** 0.5, dim=2) @ h)
    if sg.gcn:
        score = normalize(f, dim=2) @ normalize(g, dim=2).transpose(1, 2)
        if sg.position is not None:
            place = normalize(sg.position, dim=1)
            score = score - place @ place.T
        index = score.topk(sg.k, dim=2).indices
        gathered = nodes[torch.arange(batch)[:, None, None], index]  # (B, N, k, C)
        found.append((gathered - nodes[:, :, None]).amax(2))
    hidden = torch.cat(found, dim=2).transpose(1, 2).reshape(batch, -1, height, width)
    return conv2d(hidden, sg.update.weight, sg.update.bias)


SWITCHES = [{}, {"attention": False}, {"gcn": False}, {"eliminate_ps": False}, {"k": 3}, {"reduction": 4}]


@pytest.mark.parametrize("values", SWITCHES, ids=str)
def test_block_is_its_plain_form_in_values_and_gradients(values):
    sg = block(**values)
    features = rows(2, 8, 3, 4).requires_grad_()
    weights = rows(2, 8, 3, 4, seed=1)
    learnt = [features, *sg.parameters()]
    ours, theirs = sg(features), plain(sg, features)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((y * weights).sum(), learnt) for y in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradient_is_the_derivative():
    sg = block(channels=4, size=(2, 3), k=2)
    assert torch.autograd.gradcheck(sg, (rows(1, 4, 2, 3).requires_grad_(),))


def test_encoding_of_a_small_grid_by_hand():
    """Four channels have the one frequency 1: sin y, cos y, sin x, cos x."""
    expected = [[y.sin(), y.cos(), x.sin(), x.cos()] for y in torch.arange(2.0) for x in torch.arange(3.0)]
    torch.testing.assert_close(position_encoding(2, 3, 4), torch.tensor(expected))


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 512), (3, 5, 16)])
def test_cosines_of_places_depend_on_their_distance_alone(height, width, channels):
    """cos(P_i, P_j) = 2/C (T[|dy|] + T[|dx|]) with T[d] = sum_k cos(omega_k d)."""
    place = normalize(position_encoding(height, width, channels).double(), dim=1)
    frequencies = 10000.0 ** -(torch.arange(channels // 4).double() / (channels // 4))
    table = torch.cos(torch.arange(max(height, width)).double()[:, None] * frequencies).sum(1)
    y, x = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    expected = 2 / channels * (table[(y[:, None] - y).abs()] + table[(x[:, None] - x).abs()])
    torch.testing.assert_close(place @ place.T, expected, rtol=0, atol=3e-7)


def test_without_the_subtraction_nodes_of_one_look_are_neighbours_and_with_it_the_far_ones():
    """All nodes look alike: the nearest in place are the least wanted."""
    sg = block(channels=64, size=(4, 4), attention=False, k=1)
    place = normalize(sg.position, dim=1)
    farthest = (place @ place.T).argmin(1)
    features = torch.ones(1, 64, 4, 4, dtype=torch.float64)
    features[0, 0] += torch.arange(16.0).view(4, 4) * 1e-9  # only to see which node was taken
    taken = torch.zeros(16)

    def seen(module, inputs):
        taken.copy_((inputs[0][0, 0] / 1e-9).flatten())

    sg.update.register_forward_pre_hook(seen)
    sg(features)
    assert (taken.round() + torch.arange(16)).tolist() == farthest.tolist()


def test_parameters_of_the_paper():
    """f and g 512 -> 256, h 512 -> 512, u 1024 -> 512, with biases."""
    with torch.device("meta"):
        sg = SGBlock(512, (8, 8))
    assert sum(p.numel() for p in sg.parameters()) == 2 * (512 * 256 + 256) + 512 * 512 + 512 + 1024 * 512 + 512


def test_neighbours_are_at_most_all_other_nodes():
    assert block(size=(1, 3)).k == 2
    assert block(size=(1, 3))(rows(1, 8, 1, 3)).shape == (1, 8, 1, 3)


def test_a_block_of_nothing_and_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="attention, gcn"):
        SGBlock(8, (2, 2), attention=False, gcn=False)
    with pytest.raises(ValueError, match="channels: expected a multiple of 4, got 6"):
        SGBlock(6, (2, 2))
