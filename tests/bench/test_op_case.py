"""What an operator's work comes to, by hand, and the calls that are timed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from adtool.bench import ops
from adtool.bench.op_case import Case
from adtool.errors import AdtoolError
from adtool.ops.philox_normal import philox_normal

CPU = torch.device("cpu")
SMALL = [case for name in ops.names() for case in ops.cases(name, CPU, "small")]


def case(name: str, number: int = 0, backward: bool = False) -> Case:
    found = [case for case in ops.cases(name, CPU, "small") if case.backward == backward]
    return found[number]


def test_every_operator_has_cases_and_a_gradient_where_it_has_one() -> None:
    assert {(case.op, case.backward) for case in SMALL} >= {("simam", False), ("simam", True), ("cosine_map", True)}
    assert {case.op for case in SMALL} == set(ops.names())
    assert ("nearest_patch", True) not in {(case.op, case.backward) for case in SMALL}


def test_arguments_as_text() -> None:
    assert case("simam").shape == "(2,3,5,7) lambda_=0.0001"
    assert case("nearest_patch", 1).shape == "(5,70) (9,70) k=9"
    assert case("cosine_map").shape.startswith("(2,3,5,7)+(2,9,2,3)+(2,4,1,1) ")
    assert case("cosine_map").shape.endswith(" size=[9,11] reduce=sum")


def test_bytes_that_have_to_move() -> None:
    """simam reads x and writes y, 210 floats each; backward reads what was saved (x) and dL/dy and writes dL/dx."""
    assert case("simam").min_bytes == 2 * 4 * 210
    assert case("simam", backward=True).min_bytes == 5 * 4 * 210
    # a blur saves nothing: dL/dy in, dL/dx out
    assert case("gaussian_blur", backward=True).min_bytes == 4 * case("gaussian_blur").arguments[0].nbytes
    # (17, 11) and (45, 11) in; distance and index of 17 rows out
    assert case("nearest_patch").min_bytes == 4 * 11 * (17 + 45) + (4 + 8) * 17
    # two of three maps of 2 images, 9 x 11, at three scales of 3 x 5 x 7, 9 x 2 x 3 and 4 features
    features = 2 * 2 * (105 + 54 + 4)
    assert case("cosine_map").min_bytes == 4 * (features + 2 * 99)
    assert case("cosine_map", backward=True).min_bytes == 4 * (3 * features + 2 * 2 * 99)


def test_memory_that_every_call_has_to_take() -> None:
    """y; y and dL/dx; distance and index of 17 rows."""
    assert [case("simam", backward=backward).fresh_bytes for backward in (False, True)] == [4 * 210, 2 * 4 * 210]
    assert case("nearest_patch").fresh_bytes == (4 + 8) * 17


def test_a_coreset_passes_over_the_patches_for_every_pick() -> None:
    assert case("greedy_coreset").min_bytes == 19 * (4 * 50 * 13 + 2 * 4 * 50)  # 20 picks of (50, 13)


def test_noise_reads_nothing_of_what_it_is_like() -> None:
    assert case("philox_normal").min_bytes == 4 * 315 + 2 * 8 * 3  # (3, 3, 5, 7), and t and number of 3 samples


def test_operations() -> None:
    assert case("simam").flops == 10 * 210 and case("simam", backward=True).flops == 33 * 210
    assert case("nearest_patch").flops == 2 * 17 * 45 * 11
    assert case("gaussian_blur").flops == 2 * (4 + 2 * 3) * 126  # r = 3 at sigma 0.8, both axes, 126 pixels
    # queries and keys (2, 19, 11), positions (19, 6) once for both graphs
    assert case("topk_neighbors").flops == 2 * 19 * 19 * (2 * 11 + 6)
    assert case("max_relative").flops == 3 * 70 and case("max_relative", backward=True).flops == 7 * 70  # k = 3
    search = 2 * 19 * 19 * (2 * 11 + 6)
    assert case("topk_max_relative").flops == search + 4 * 190  # k = 4, x (2, 19, 5)
    assert case("topk_max_relative", backward=True).flops == search + 9 * 190
    assert [case(name).flops for name in ("philox_normal", "q_sample", "denoise_step")] == [
        46 * 315,
        49 * 315,
        56 * 315,
    ]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.op}-{case.passes}")
def test_what_is_stated_is_positive(case: Case) -> None:
    assert case.min_bytes > 0
    assert case.flops is not None and case.flops > 0
    assert case.shape and case.passes in ("forward", "forward_backward")


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.op}-{case.passes}")
def test_native_and_eager_can_be_called(case: Case) -> None:
    for variant in ("native", "eager"):
        results = case.call(variant)()
        if case.backward:
            assert any(isinstance(grad, torch.Tensor) and bool(grad.isfinite().all()) for grad in results)


def test_graph_operators_have_opponents_that_find_the_same() -> None:
    searches = [case for case in SMALL if case.op == "topk_neighbors"][:-1]  # float32 settles the near-ties by chance
    for found in [*searches, *(case for case in SMALL if case.op in ("max_relative", "topk_max_relative"))]:
        torch.testing.assert_close(*(found.call(variant)() for variant in ("native", "eager")))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ["philox_normal", "q_sample", "denoise_step"])
def test_diffusion_operators_differ_from_their_opponents_in_the_noise_alone(
    name: str, backward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in [case for case in SMALL if case.op == name and case.backward == backward]:
        t, number = (x for x in found.arguments if isinstance(x, torch.Tensor) and x.dtype == torch.int64)
        step = -t if name == "q_sample" else t
        monkeypatch.setattr(torch, "randn_like", partial(philox_normal, t=step, seed=1, sample_id=number))
        torch.testing.assert_close(*(found.call(variant)() for variant in ("native", "eager")))


@pytest.mark.parametrize("name", ["simam", "cosine_map", "gaussian_blur"])
def test_variants_have_the_same_gradients(name: str) -> None:
    torch.testing.assert_close(*(case(name, backward=True).call(v)() for v in ("native", "eager")))


@pytest.fixture
def refusing_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(function: object, **options: object) -> object:
        def call(*arguments: object) -> None:
            raise RuntimeError("No working C++ compiler\nfound")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    yield


def test_what_cannot_be_compiled_says_why(refusing_compiler: None) -> None:
    with pytest.raises(AdtoolError, match="torch.compile: No working C\\+\\+ compiler found"):
        case("simam").call("compiled")
    with pytest.raises(AdtoolError, match="unrolls the loop"):
        case("greedy_coreset").call("compiled")


def test_an_error_of_the_operator_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("wrong")

    monkeypatch.setattr("adtool.ops.simam.reference", broken)
    with pytest.raises(RuntimeError, match="wrong"):
        case("simam").call("eager")


@pytest.mark.slow
def test_compiled_gives_what_eager_gives() -> None:
    for backward in (False, True):
        found, expected = (case("top_mean", backward=backward).call(v)() for v in ("compiled", "eager"))
        torch.testing.assert_close(found, expected)


def test_operators_are_timed_with_freed_memory_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(ops, "keep_freed_memory", lambda: asked.append(True))
    monkeypatch.setattr(ops.machine, "rates", lambda device: {"copy_bytes_per_s": 1.0, "sgemm_flops_per_s": 1.0})
    found = ops.bench(["top_mean"], device=torch.device("cpu"), variants=["native"], size="small", repeats=1)
    assert asked == [True] and found["rows"]
