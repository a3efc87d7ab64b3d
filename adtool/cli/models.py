"""`adtool models`: what can be trained."""

from __future__ import annotations

from typing import Any

import click

from adtool.cli import _console, _options


@click.command()
@_options.json_output
@_options.debug
def command(as_json: bool) -> None:
    """List the models with their papers, presets, parameters and what they need.

    \b
    Example:
      adtool models
      adtool models --json
    """
    from adtool import models

    listed = [_describe(name) for name in models.names()]
    if as_json:
        _console.answer_json(listed)
        return
    rows = [
        [m["name"], preset, m["needs"][preset], f"{count:,}"]
        for m in listed
        for preset, count in m["parameters"].items()
    ]
    _console.table(["model", "preset", "backbone", "parameters"], rows, left=3)
    for model in listed:
        _console.answer(f"{model['name']}: {model['paper']}")


def _describe(name: str) -> dict[str, Any]:
    """One model; parameters are counted without allocating them."""
    import torch

    from adtool import models

    module = models.load(name)
    configs = {preset: module.Config.preset(preset) for preset in module.Config.PRESETS}
    with torch.device("meta"):
        built = {preset: module.Model(config) for preset, config in configs.items()}
    needs = {preset: ", ".join(part.name for part in model.backbones.values()) for preset, model in built.items()}
    for model in built.values():
        model.discard()
    return {
        "name": name,
        "paper": module.Config.PAPER,
        "presets": list(configs),
        "parameters": {preset: sum(p.numel() for p in model.parameters()) for preset, model in built.items()},
        "needs": {preset: found or "nothing" for preset, found in needs.items()},
    }
