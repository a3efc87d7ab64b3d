import pytest
import torch
from torch import nn

from adtool.layers.ema import MovingAverage


def of(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_the_average_by_hand():
    """Decays are 1/10 and 2/11 at first: 0.1 x 1 + 0.9 x 3 = 2.8, then 2.8 x 2/11 + 5 x 9/11 = 4.6."""
    average = MovingAverage(of(1.0), 0.999)
    average.follow(of(3.0))
    assert average.network.weight.item() == pytest.approx(2.8)
    average.follow(of(5.0))
    assert average.network.weight.item() == pytest.approx(4.6)


def test_the_decay_ends_where_it_is_asked_to():
    average = MovingAverage(of(0.0), 0.05)
    average.follow(of(1.0))
    assert average.network.weight.item() == pytest.approx(0.95)


def test_it_has_no_gradient_but_buffers_and_a_count_that_are_saved():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = MovingAverage(network, 0.9)
    network(torch.full((2, 1, 2, 2), 3.0))
    average.follow(network)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert torch.equal(average.network[1].running_mean, network[1].running_mean)
    again = MovingAverage(network, 0.9)
    again.load_state_dict(average.state_dict())
    assert again.steps == 1
