import torch
import torch.nn.functional as F

from adtool.layers.cbam import CBAM


def by_hand(module: CBAM, x: torch.Tensor) -> torch.Tensor:
    """The two gates from loops over channels and places; the norm as in eval mode."""
    first, _, second = module.weigh
    number, channels, height, width = x.shape
    flat = x.reshape(number, channels, -1)
    logits = 0
    for pooled in (flat.sum(2) / (height * width), flat.max(2).values):
        logits = logits + (pooled @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    weighed = x / (1 + (-logits).exp())[:, :, None, None]
    conv, norm = module.place
    seen = F.pad(torch.stack([weighed.max(1).values, weighed.sum(1) / channels], 1), (3, 3, 3, 3))
    gate = torch.empty(number, 1, height, width, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            gate[:, 0, i, j] = (seen[:, :, i : i + 7, j : j + 7] * conv.weight).sum((1, 2, 3))
    gate = (gate - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    return weighed / (1 + (-gate).exp())


def test_gates_are_those_of_the_paper():
    torch.manual_seed(0)
    module = CBAM(8, reduction=4).double().eval()
    module.place[1].running_mean.fill_(0.3)
    module.place[1].running_var.fill_(2.0)
    module.place[1].bias.data.fill_(0.7)
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(module(x), by_hand(module, x))


def test_without_what_they_weigh_gates_are_half_open():
    """Both gates are sigmoid(0) = 1/2: a quarter is left of every value."""
    module = CBAM(4, reduction=2).eval()
    for parameter in (*module.weigh.parameters(), module.place[0].weight):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(module(x), x / 4)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    module = CBAM(4, reduction=2).double()
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_parameters_are_those_of_the_paper():
    """C = 64, r = 16: 64 x 4 and 4 x 64 with biases, 2 x 7 x 7 without, and a norm of one channel."""
    assert sum(p.numel() for p in CBAM(64).parameters()) == 2 * 64 * 4 + 4 + 64 + 98 + 2


def test_few_channels_keep_one_hidden_number():
    assert CBAM(3).weigh[0].out_features == 1
