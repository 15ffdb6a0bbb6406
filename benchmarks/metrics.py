#!/usr/bin/env python3
"""Seconds and peak memory of the measures in `imgbook.metrics` on sets of a usual size, against fixed limits.

    python benchmarks/metrics.py    # half a minute, on Linux or macOS; let nothing else run beside it

Each measure runs in a process of its own. Exit status 1 if one is slower or larger than its limit.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from imgbook import metrics

SECONDS, GIGABYTES = 60, 4
MEASURES: dict[str, tuple[Callable, int, int]] = {  # name: function of two sets, rows, features
    "Fréchet distance": (metrics.frechet_distance, 50_000, 256),
    "kernel distance": (metrics.kernel_distance, 10_000, 256),
    "precision and recall": (lambda x, y: metrics.precision_recall(real=x, fake=y), 10_000, 256),
}


def measure(name: str) -> tuple[float, float]:
    """Seconds of one call, and the peak memory of this process in GB, with the two sets in float32."""
    function, rows, width = MEASURES[name]
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((rows, width), np.float32) for _ in range(2))
    begin = time.perf_counter()
    function(x, y)
    seconds = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss in bytes
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> int:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(f"{'measure':22}{'rows x features':>18}{'seconds':>10}{'GB':>8}")
    over = []
    for name, (_, rows, width) in MEASURES.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, gigabytes = pool.apply(measure, (name,))
        print(f"{name:22}{f'{rows:,} x {width}':>18}{seconds:10.1f}{gigabytes:8.2f}", flush=True)
        if seconds > SECONDS or gigabytes > GIGABYTES:
            over.append(name)
    if over:
        print(f"over {SECONDS} s or {GIGABYTES} GB: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
