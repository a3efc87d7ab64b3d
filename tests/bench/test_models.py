from __future__ import annotations

import pytest
import torch

from adtool import timing
from adtool.bench import models
from adtool.bench.subjects import Subject
from adtool.building import build
from adtool.checkpoint import LoadedModel


@pytest.mark.parametrize(("best", "kept"), [(4, [1, 4, 16]), (1, [1, 16]), (16, [1, 16])])
def test_batches_of_one_of_the_best_size_and_the_largest_are_kept(monkeypatch, best, kept):
    def timed(calls, **options):
        return {name: timing.Timing((int(name) / (2 if int(name) == best else 1),)) for name in calls}

    monkeypatch.setattr(timing, "interleaved", timed)
    monkeypatch.setattr(timing, "peak_bytes", lambda call, device: 0)
    monkeypatch.setattr(models.machine, "peak_resident", lambda call: 0)
    loaded = LoadedModel(build("patchcore", "default", {}, 0), {}, None)
    subject = Subject("patchcore", "default", "none", loaded)
    rows = models._rows(subject, torch.zeros(2, 3, 4, 4), (), 1.0, None)
    assert [row["batch"] for row in rows] == kept
    assert [row["images_per_s"] for row in rows] == [2.0 if batch == best else 1.0 for batch in kept]
