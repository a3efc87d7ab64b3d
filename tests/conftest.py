"""Made sample sets, written once for all tests; tests must not change them."""

from __future__ import annotations

import signal
from pathlib import Path

# Before torch is loaded: threads that wait must not take a busy machine's cores.
from adtool.runtime import wait_briefly

wait_briefly()

import pytest

from adtool.data.sample_set import write_sample_set

# A shell that starts a job in the background has it ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

SIZE = 64


@pytest.fixture(scope="session")
def texture_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Woven cloth in MVTec layout: 12 training images, 4 good ones and 3 of each of 4 defects for testing, 64 x 64."""
    return write_sample_set(tmp_path_factory.mktemp("made") / "texture", "texture", **_counts())


@pytest.fixture(scope="session")
def object_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Metal discs in MVTec layout, counts as in `texture_set`."""
    return write_sample_set(tmp_path_factory.mktemp("made") / "object", "object", **_counts())


@pytest.fixture(scope="session")
def logical_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of pins in LOCO layout, 64 x 96: 12 training, 4 validation, 4 good and 2 x 5 anomalous images."""
    return write_sample_set(tmp_path_factory.mktemp("made") / "logical", "logical", **_counts(per_defect=5))


def _counts(per_defect: int = 3) -> dict[str, int]:
    return {"size": SIZE, "train": 12, "good": 4, "per_defect": per_defect, "seed": 0}
