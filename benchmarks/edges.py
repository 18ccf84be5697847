"""Speed of boundary scores against a plain implementation, on photographs of scikit-image.

The plain implementation processes one threshold after the other: scikit-image's thinning, then a
maximum flow (Dinic) over the pairs of pixels within tolerance. The benchmark checks that both give
the same counts. Ground truth comes from segmentations of the photographs. Predictions are noisy
gradients ("gradient") and blurred contours with noise ("contour"), which are harder to match than
the clean maps of trained networks. Times are CPU seconds of one process.

    python benchmarks/edges.py
    python benchmarks/edges.py --size 512 512 --max-dist 0.011 --images 2
    python benchmarks/edges.py --annotators 5 --no-plain
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
import skimage
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from skimage import morphology, segmentation, transform

from taskprism.metrics.boundaries import (
    BoundaryConvention,
    evenly_spaced,
    match,
    suppress_non_maxima,
    thin,
    thin_planes,
    true_boundaries,
)
from taskprism.metrics.boundaries.bits import planes_above
from taskprism.metrics.boundaries.matching import ToleranceGraph

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "camera", "rocket")


def make_images(count, size, annotators, rng):
    """Yield ``(name, prediction, truths)``."""
    for name in PHOTOGRAPHS[:count]:
        photograph = getattr(skimage.data, name)()
        if photograph.ndim == 3:
            photograph = skimage.color.rgb2gray(photograph)
        gray = transform.resize(skimage.util.img_as_float(photograph), size, anti_aliasing=True)
        truths = []
        for scale in (400, 300, 600, 200, 1000)[:annotators]:
            labels = segmentation.felzenszwalb(gray, scale=scale, sigma=1, min_size=400)
            truths.append(true_boundaries(labels, "seism"))
        gradient = skimage.filters.sobel(ndimage.gaussian_filter(gray, 1))
        gradient = gradient / np.percentile(gradient, 99.5) + rng.normal(0, 0.08, size)
        contour = ndimage.gaussian_filter(truths[0].astype(float), 1.5)
        noise = ndimage.gaussian_filter(rng.normal(0, 1, size), 0.8)
        contour = contour / contour.max() * 0.8 + noise * 0.25
        for kind, prediction in (("gradient", gradient), ("contour", contour)):
            yield f"{name} {kind}", np.clip(prediction, 0, 1).astype(np.float32), truths


def plain_match(predicted, truth, radius):
    """Size of a maximum matching of two masks by one maximum flow."""
    pairs = ToleranceGraph.between(predicted, truth, radius)
    if len(pairs.predicted) == 0:
        return 0
    left, right = len(pairs.pixels), pairs.truths
    source, sink = left + right, left + right + 1
    start = np.concatenate([np.full(left, source), pairs.predicted, left + np.arange(right)])
    end = np.concatenate([np.arange(left), left + pairs.truth, np.full(right, sink)])
    capacities = csr_array((np.ones(len(start), np.int32), (start, end)), shape=(sink + 1,) * 2)
    return maximum_flow(capacities, source, sink, method="dinic").flow_value


class Stopwatch:
    """CPU seconds by name."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def time(self, name, function, *args):
        """Call a function and add its time to the entry ``name``."""
        start = time.process_time()
        result = function(*args)
        self.seconds[name] += time.process_time() - start
        return result


def main():
    """Measure both implementations and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3, help="photographs, two predictions each")
    parser.add_argument("--size", type=int, nargs=2, default=(321, 481))
    parser.add_argument("--max-dist", type=float, default=0.0075)
    parser.add_argument("--thresholds", type=int, default=99)
    parser.add_argument("--annotators", type=int, default=1)
    parser.add_argument("--no-nms", action="store_true")
    parser.add_argument("--no-plain", action="store_true", help="skip the plain implementation")
    args = parser.parse_args()

    size, radius = tuple(args.size), args.max_dist * np.hypot(*args.size)
    convention = BoundaryConvention(thresholds=evenly_spaced(args.thresholds))
    thresholds = convention.threshold_array()
    fast, plain = Stopwatch(), Stopwatch()
    images = list(make_images(args.images, size, args.annotators, np.random.default_rng(0)))
    share = np.mean([truth.mean() for _, _, truths in images for truth in truths])
    print(
        f"{len(images)} maps of {size[0]} x {size[1]}, {args.annotators} annotator(s), "
        f"{share:.1%} boundary pixels, {args.thresholds} thresholds, {radius:.1f} px tolerance"
    )
    thin(np.eye(9))  # warm up
    for name, prediction, truths in images:
        before = sum(fast.seconds.values())
        if not args.no_nms:
            prediction = fast.time("suppression", suppress_non_maxima, prediction)
        planes = fast.time("packing", planes_above, prediction, thresholds, ">")
        planes = fast.time("thinning", thin_planes, planes)
        matched = fast.time("matching", match, planes, truths, radius, len(thresholds))
        print(f"  {name:20s} {sum(fast.seconds.values()) - before:.3f} s", flush=True)
        if args.no_plain:
            continue
        for number, threshold in enumerate(thresholds):
            mask = plain.time("thinning", morphology.thin, prediction > threshold)
            flows = [plain.time("matching", plain_match, mask, truth, radius) for truth in truths]
            assert sum(flows) == matched.truth[number], (name, threshold)
    plain.seconds["suppression"] = fast.seconds["suppression"]
    count = len(images)
    for title, watch in (("bit-parallel", fast), ("plain", plain)):
        if watch is plain and args.no_plain:
            continue
        total = sum(watch.seconds.values())
        stages = ", ".join(f"{name} {1e3 * t / count:.1f}" for name, t in watch.seconds.items())
        print(f"{title}: {count / total:.2f} images/s/core ({stages} ms per image)")
    if not args.no_plain:
        total, other = sum(fast.seconds.values()), sum(plain.seconds.values())
        print(
            f"ratio {other / total:.1f} (matching alone "
            f"{plain.seconds['matching'] / fast.seconds['matching']:.1f}); counts identical"
        )


if __name__ == "__main__":
    main()
