"""`adtool models`: what the files in adtool/models say of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from adtool import models


def test_json_lists_every_model_with_counted_parameters(adtool: Callable[..., Result]) -> None:
    listed = {model["name"]: model for model in json.loads(adtool("models", "--json").stdout)}
    assert list(listed) == models.names()
    for name, model in listed.items():
        module = models.load(name)
        assert model["presets"] == list(module.Config.PRESETS) == list(model["parameters"])
        assert model["paper"] == module.Config.PAPER and "http" in model["paper"]
    needs = {
        (name, preset): model["needs"][preset] for name, model in listed.items() for preset in ("paper", "default")
    }
    assert needs["patchcore", "paper"] == "wide_resnet50_2"
    assert needs["slsg", "paper"] == needs["wads", "paper"] == needs["scgan", "default"] == "nothing"
    assert needs["slsg", "default"] == needs["wads", "default"] == "efficientnet_lite0"
    preset = listed["patchcore"]["presets"][0]
    module = models.load("patchcore")
    built = module.Model(module.Config.preset(preset))
    assert listed["patchcore"]["parameters"][preset] == sum(p.numel() for p in built.parameters())


def test_table_names_every_model_and_preset(adtool: Callable[..., Result]) -> None:
    words = adtool("models").stdout.split()
    for name in models.names():
        assert name in words
        assert set(models.load(name).Config.PRESETS) <= set(words)
