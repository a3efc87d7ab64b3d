import pytest
import torch
from torch import nn

from adtool.layers.batch_invariant import Conv2d, GroupNorm, UpConv2d


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


CONVS = [(3, 24, 64, 3), (48, 48, 16, 3), (8, 8, 8, 3), (12, 4, 16, 1), (256, 64, 8, 1)]
CASES = [(Conv2d(i, o, kernel, 1, kernel // 2), (16, i, side, side)) for i, o, side, kernel in CONVS]
CASES += [(UpConv2d(i, o), (16, i, side, side)) for i, o, side in [(32, 32, 32), (8, 12, 10)]]
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
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("silu", [False, True])
def test_a_norm_is_scaled_and_shifted_before_it_ends(silu, grad):
    torch.manual_seed(0)
    norm, x, told = GroupNorm(3, 6, silu=silu), torch.randn(3, 6, 33, 40), torch.randn(3, 12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = nn.functional.group_norm(x, 3, norm.weight, norm.bias)
    scaled = expected * (1 + told[:, :6, None, None]) + told[:, 6:, None, None]
    for given, wanted in ((None, expected), (told, scaled)):
        with torch.set_grad_enabled(grad):
            found = norm(x, given)
        assert found.requires_grad == grad
        torch.testing.assert_close(found, nn.functional.silu(wanted) if silu else wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer, shape", CASES, ids=lambda value: str(value).replace(", ", " "))
def test_the_number_of_threads_changes_no_bit(layer, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            with torch.no_grad():
                found.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(other, found[0]) for other in found[1:])


@pytest.mark.parametrize("shape", [(3, 6, 5, 8), (1, 2, 1, 1), (2, 4, 16, 3)])
def test_a_doubled_image_is_convolved_at_once(shape):
    torch.manual_seed(0)
    conv, x = UpConv2d(shape[1], 7), torch.randn(shape)
    expected = nn.functional.conv2d(
        x.repeat_interleave(2, 2).repeat_interleave(2, 3), conv.weight, conv.bias, padding=1
    )
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        found = conv(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


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
