"""The metrics straight from their definitions: every pair, every threshold, every pixel. Slow, plain, independent."""

from __future__ import annotations

import numpy as np


def auroc(labels, scores):
    """Share of (anomalous, normal) pairs in order; a tie is half a pair."""
    positive = [s for y, s in zip(labels, scores, strict=True) if y]
    negative = [s for y, s in zip(labels, scores, strict=True) if not y]
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    return won / (len(positive) * len(negative))


def average_precision(labels, scores):
    """Precision at each distinct threshold, weighted by the recall it adds."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        alarms = scores >= threshold
        hits = int((labels[alarms] == 1).sum())
        recall = hits / int((labels == 1).sum())
        total += (recall - recall_before) * hits / int(alarms.sum())
        recall_before = recall
    return total


def f1_max(labels, scores):
    """The best F1 over every distinct score as threshold, and the largest such score."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    best = (-1.0, 0.0)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        alarms = scores >= threshold
        tp = int((alarms & (labels == 1)).sum())
        fp, fn = int((alarms & (labels == 0)).sum()), int((~alarms & (labels == 1)).sum())
        if 2 * tp / (2 * tp + fp + fn) > best[0]:
            best = (2 * tp / (2 * tp + fp + fn), threshold)
    return best


def components(mask):
    """The 8-connected components as sets of (row, column), by flood fill."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        queue, region = [left.pop()], set()
        while queue:
            y, x = queue.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue += near
        found.append(region)
    return found


def overlap_area(maps, channels, limit):
    """Mean saturated overlap over the false-positive rate, up to `limit`; channels[i] lists (pixel set, saturation)."""
    thresholds = sorted({float(v) for scores in maps for v in np.ravel(scores)}, reverse=True)
    points = [(0.0, 0.0)] + [_overlap_point(maps, channels, threshold) for threshold in thresholds] + [(1.0, 1.0)]
    return _area_up_to(points, limit) / limit


def aupro(maps, masks, limit):
    """The overlap of the components, each found when all its pixels are."""
    channels = [[(region, len(region)) for region in components(mask)] for mask in masks]
    return overlap_area(maps, channels, limit)


def _overlap_point(maps, channels, threshold):
    """(false-positive rate, mean overlap) with alarm where score >= threshold."""
    false = normal = 0
    overlaps = []
    for scores, found in zip(maps, channels, strict=True):
        union = set().union(*(region for region, _ in found))
        for y, x in np.ndindex(*np.shape(scores)):
            normal += (y, x) not in union
            false += (y, x) not in union and scores[y][x] >= threshold
        for region, saturation in found:
            hits = sum(bool(scores[y][x] >= threshold) for y, x in region)
            overlaps.append(min(hits / saturation, 1.0))
    return false / normal, sum(overlaps) / len(overlaps)


def _area_up_to(points, limit):
    """Trapezoids below straight lines between the points, the last one cut at `limit`."""
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area
