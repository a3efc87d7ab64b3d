"""How well scores and maps separate good from anomalous: exact metrics as plain functions on arrays.

Larger scores are more anomalous. A metric without meaning (one class only, no mask) is None, never 0. NaN and infinity
are an AdtoolError that names the image. Every value is a fraction in [0, 1].
"""

from adtool.metrics.curve import Curve, OperatingPoint
from adtool.metrics.pixels import PixelScores, aupro, native, pixel_metrics, spro
from adtool.metrics.pro_rd4ad import pro_rd4ad
from adtool.metrics.ranking import auroc, average_precision, f1_max, oracle

__all__ = [
    "Curve",
    "OperatingPoint",
    "PixelScores",
    "aupro",
    "auroc",
    "average_precision",
    "f1_max",
    "native",
    "oracle",
    "pixel_metrics",
    "pro_rd4ad",
    "spro",
]
