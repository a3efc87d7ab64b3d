import torch

from adtool.layers.content_keys import KEY, PRIME, content_keys
from adtool.ops.philox_normal import WORD, philox


def images(number: int = 4) -> torch.Tensor:
    return torch.rand(number, 3, 5, 7, generator=torch.Generator().manual_seed(0))


def test_keys_in_whole_numbers_of_python():
    """The same two sums without any tensor arithmetic."""
    picture = images(1)
    words = [int(bits) & WORD for bits in picture.view(torch.int32).flatten().tolist()]
    places, nothing = torch.arange(len(words)), torch.zeros(len(words), dtype=torch.int64)
    drawn = philox((places, nothing, nothing, nothing), KEY)
    first, second = (
        sum(w * (c >> 1) for w, c in zip(words, own.tolist(), strict=True)) % PRIME for own in (drawn[0], drawn[1])
    )
    assert content_keys(picture).tolist() == [first * 2**31 + second]


def test_keys_follow_from_the_picture_alone():
    batch = images()
    keys = content_keys(batch)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(content_keys(batch[order]), keys[order])
    assert torch.equal(content_keys(batch[1:2]), keys[1:2])
    assert torch.equal(content_keys(batch.contiguous(memory_format=torch.channels_last)), keys)


def test_pictures_that_hardly_differ_have_other_keys():
    batch = images(1).repeat(6, 1, 1, 1)
    batch[1, 0, 0, 0] += 2.0**-20
    batch[2] = batch[2].flip(2)
    batch[3, 0] = batch[0, 1]
    batch[4, 2, 4, 6] = 0
    assert len(set(content_keys(batch).tolist())) == 5
    assert content_keys(torch.zeros(1, 3, 5, 7)) != content_keys(torch.ones(1, 3, 5, 7))


def test_keys_fill_their_range():
    keys = content_keys(torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert len(keys.unique()) == 500 and keys.min() >= 0 and keys.max() < 1 << 62
    for shift in (0, 30, 31, 60):
        assert 0.4 < (keys >> shift & 1).float().mean() < 0.6
