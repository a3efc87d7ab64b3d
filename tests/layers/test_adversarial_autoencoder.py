import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adtool.layers.adversarial_autoencoder import AdversarialAutoencoder, Weights

WEIGHTS = Weights(adversarial=1.0, content=40.0, latent=2.0, code=3.0, judge_latent=False)


def tiny(weights: Weights = WEIGHTS, *, code: bool = False) -> AdversarialAutoencoder:
    torch.manual_seed(0)
    return AdversarialAutoencoder(
        (32, 32), (4, 8), (4, 8), 6, skip="deepest", reduction=0 if code else 2, code=code, weights=weights
    )


def images(number: int = 3) -> torch.Tensor:
    return 2 * torch.rand(number, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 1


@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize("judge_latent", [False, True])
def test_losses_are_the_papers(code, judge_latent):
    weights = WEIGHTS._replace(judge_latent=judge_latent)
    x, model, twin = images(), tiny(weights, code=code), tiny(weights, code=code)
    restored = twin.generator(x)
    (wanted, real), (seen, fake) = twin.discriminator.judge(x), twin.discriminator.judge(restored)
    ones = torch.ones_like(real)
    latent = (wanted - seen).square().mean()
    loss = F.binary_cross_entropy(fake.sigmoid(), ones) + 40 * (x - restored).abs().mean() + 2 * latent
    if code:
        difference = twin.generator.encode(x)[0] - twin.second_encoder(restored)
        loss = loss + 3 * difference.square().mean()
    judge = F.binary_cross_entropy(real.sigmoid(), ones) + F.binary_cross_entropy(fake.sigmoid(), 0 * ones)
    expected = [loss.item(), (judge + latent * judge_latent).item()]
    assert [loss.item() for loss in model.losses(x)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("code", [False, True])
def test_each_loss_teaches_its_own_side(code):
    model = tiny(code=code)
    ours, theirs = model.learnt()
    assert {id(p) for p in ours + theirs} == {id(p) for p in model.parameters()}
    losses = model.losses(images())
    next(losses).backward()
    assert all(p.grad is None for p in theirs) and all(p.grad is not None for p in ours)
    model.zero_grad()
    next(losses).backward()
    assert all(p.grad is None for p in ours) and all(p.grad is not None for p in theirs)


def test_distances_by_hand():
    model, x = tiny(code=True).eval(), images()
    with torch.inference_mode():
        restored, code = model.restored(x)
        torch.testing.assert_close(restored, model.generator(x))
        assert code.shape == (3, 6, 1, 1)
        far = (code - model.second_encoder(restored)).flatten(1)
        torch.testing.assert_close(model.code_distance(code, restored), (far * far).sum(1) / 6)
        seen, others = (model.discriminator.features(y)[-1].flatten(1) for y in (x, restored))
        torch.testing.assert_close(model.feature_distance(x, restored), (seen - others).square().mean(1))
        torch.testing.assert_close(model.error(x), (restored - x).abs().mean())


def test_skip_ganomaly_has_neither_code_nor_second_encoder():
    model = tiny()
    assert model.restored(images())[1] is None and model.second_encoder is None
    assert isinstance(model.discriminator.verdict, nn.Conv2d)
