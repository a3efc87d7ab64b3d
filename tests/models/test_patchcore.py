import pytest
import torch

from adtool.models.patchcore import Config, Model

TINY = {"height": 64, "width": 64, "backbone": "resnet18", "strides": (8, 16)}


def learned(images, **values) -> Model:
    torch.manual_seed(0)
    model = Model(Config().override(**{**TINY, **values}))
    model.finish(list(images.split(4)))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_bank_has_the_share_or_number_of_rows_asked_for(images):
    assert learned(images, coreset=0.25).bank.rows.shape == (8 * 64 // 4, 128 + 256)
    assert learned(images, coreset=5, common=7).bank.rows.shape == (12, 384)


def test_a_bank_of_every_patch_knows_every_training_image(images):
    model = learned(images, coreset=1.0 - 1e-9)
    with torch.inference_mode():
        prediction = model.predict(images)
    assert prediction.maps.abs().max() < 1e-3 and prediction.scores.abs().max() < 1e-3


def test_the_share_of_patches_is_bounded(images):
    model = learned(images, max_patches=80, coreset=1000)
    assert model.bank.rows.shape[0] == 80


def test_image_scores_are_raised_patch_distances(images):
    """Eq. 7 by hand: (1 - exp(s*) / sum over N_b(m*) of exp(distance to m^test,*)) s*."""
    strange = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)) ** 3
    plain = learned(images, reweight=0, coreset=0.1)
    weighted = learned(images, reweight=3, coreset=0.1)
    with torch.inference_mode():
        before, after = plain.predict(strange).scores, weighted.predict(strange).scores
        features, _ = plain.embed(strange)
    bank = plain.bank.rows.double()
    for number, patches in enumerate(features.double().flatten(2).transpose(1, 2)):
        distances = torch.cdist(patches, bank)
        largest, at = distances.min(1).values.max(0)
        nearest = distances[at].argmin()
        neighbours = torch.cdist(bank[nearest][None], bank)[0].topk(3, largest=False).indices
        weight = 1 - largest.exp() / distances[at][neighbours].exp().sum()
        assert before[number].item() == pytest.approx(largest.item(), rel=1e-4)
        assert after[number].item() == pytest.approx((weight * largest).item(), rel=1e-3)


def test_context_joins_the_score_and_not_the_map(images):
    without, within = learned(images, context=None), learned(images, context=32)
    strange = images[:2].flip(2)
    with torch.inference_mode():
        a, b = without.predict(strange), within.predict(strange)
    torch.testing.assert_close(a.maps, b.maps)
    assert not torch.allclose(a.scores / without.bank.unit, b.scores)
    assert within.context_bank.rows.shape[1] == 512 and without.context_bank.rows.numel() == 0
