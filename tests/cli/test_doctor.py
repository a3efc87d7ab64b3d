"""`adtool doctor`: the JSON that scripts rely on and the text that people paste."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from click.testing import Result

import adtool as package


def test_json_has_the_promised_shape(adtool: Callable[..., Result]) -> None:
    found = json.loads(adtool("doctor", "--json").stdout)
    assert {"adtool", "torch", "python", "devices", "native", "ops"} <= set(found)
    assert (found["adtool"], found["torch"]) == (package.__version__, torch.__version__)
    assert {"built", "cpu", "cuda"} <= set(found["native"])
    assert found["devices"][0] == "cpu" and len(found["devices"]) == 1 + torch.cuda.device_count()
    assert {"simam", "cosine_map", "nearest_patch", "greedy_coreset", "greedy_coreset_step"} <= set(found["ops"])
    for where in found["ops"].values():
        assert where["cpu"] == ("native" if found["native"]["built"] else "reference")
        assert (where["cuda"] is None) == (torch.cuda.device_count() == 0)


def test_text_says_the_same(adtool: Callable[..., Result]) -> None:
    text, found = adtool("doctor").stdout, json.loads(adtool("doctor", "--json").stdout)
    assert f"adtool {package.__version__} torch {torch.__version__} python {found['python']}" in text
    assert ("not built" in text) != found["native"]["built"]
    assert all(op in text for op in found["ops"])
