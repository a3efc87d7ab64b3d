import pytest
import torch

from adtool.layers.schedules import constant_then_linear, warm_up_cosine


def rates(rate: float, count: int, *arguments, schedule_of=warm_up_cosine) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], rate)
    schedule = schedule_of(optimizer, *arguments)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_then_falls_as_a_cosine_and_stays_at_its_floor():
    found = rates(0.04, 30, 20, 0.2, 0.0025)
    assert found[:5] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.04])
    assert found[12] == pytest.approx((0.04 + 1e-4) / 2)
    assert found[20:] == pytest.approx([1e-4] * 10)
    assert found[4:21] == sorted(found[4:21], reverse=True)


def test_a_single_step_is_at_the_full_rate():
    assert rates(1.0, 1, 1, 0.1, 0.0) == [1.0]


def test_the_rate_stays_for_half_the_steps_then_falls_to_nothing():
    found = rates(0.4, 10, 8, schedule_of=constant_then_linear)
    assert found == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0, 0], abs=1e-12)
    assert rates(0.4, 1, 1, schedule_of=constant_then_linear) == [0.4]
