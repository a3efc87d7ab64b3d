"""The build backend: setuptools, with the torch of the environment that is being installed into.

Under build isolation a build sees none of the packages already installed. The native code must be compiled against the
headers of the torch it will run beside, and unpacking a second torch takes minutes, so the environment's own torch is
put on the path; only where there is none is torch asked for as a build requirement.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

TORCH = "torch>=2.13"
ENVIRONMENT = sysconfig.get_path("purelib")
HAS_TORCH = Path(ENVIRONMENT, "torch").is_dir()

if HAS_TORCH and ENVIRONMENT not in sys.path:
    sys.path.append(ENVIRONMENT)
    # The build's own Python processes look for their modules there too.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), ENVIRONMENT]))


def _torch():
    return [] if HAS_TORCH or os.environ.get("ADTOOL_NATIVE") == "0" else [TORCH]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _torch()
