import pytest
import torch
from torch import nn

from adtool.layers.batch_invariant import Conv2d, GroupNorm


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


CONVS = [(3, 24, 64, 3), (48, 48, 16, 3), (8, 8, 8, 3), (12, 4, 16, 1), (256, 64, 8, 1)]
CASES = [(Conv2d(i, o, kernel, 1, kernel // 2), (16, i, side, side)) for i, o, side, kernel in CONVS]
CASES += [(GroupNorm(8, 48), (16, 48, side, side)) for side in (8, 32, 40)]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=lambda value: str(value).replace(", ", " "))
def test_a_sample_has_the_same_bits_in_any_batch(layer, shape, threads):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        together = layer(x)
        for size in (1, 2, 3, 5, 11):
            parts = [layer(x[start : start + size]) for start in range(0, 16, size)]
            assert torch.equal(torch.cat(parts), together), size


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("strided", [(1, 1), (2, 1), (1, 2)])
def test_results_are_pytorchs(layout, strided, threads):
    stride, dilation = strided
    ours, theirs = Conv2d(6, 4, 3, stride, 1, dilation, 2), nn.Conv2d(6, 4, 3, stride, 1, dilation, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, 33, 40).contiguous(memory_format=layout)
    norm = GroupNorm(3, 6)
    nn.init.normal_(norm.weight)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
            expected = nn.functional.group_norm(x, 3, norm.weight, norm.bias)
            torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


def test_gradients_and_other_types_are_left_to_pytorch():
    conv, norm = Conv2d(4, 4, 1), GroupNorm(2, 4)
    norm(conv(torch.randn(2, 4, 3, 3))).sum().backward()
    assert conv.weight.grad is not None and norm.weight.grad is not None
    with torch.no_grad():
        assert norm.double()(conv.double()(torch.randn(2, 4, 3, 3).double())).dtype == torch.float64


def test_the_layout_of_a_single_sample_is_no_matter():
    """The stride over a batch of one may be any: here one that no batch of several has."""
    torch.manual_seed(0)
    conv, several = Conv2d(48, 48, 1), torch.randn(3, 256, 48)
    with torch.no_grad():
        together = conv(several.transpose(1, 2).reshape(3, 48, 16, 16))
        for place in range(3):
            single = several[place : place + 1].transpose(1, 2).reshape(1, 48, 16, 16).as_strided
            alone = conv(single((1, 48, 16, 16), (1, 1, 768, 48), place * 256 * 48))
            assert torch.equal(alone[0], together[place]) and alone.stride() == (12288, 1, 768, 48)
