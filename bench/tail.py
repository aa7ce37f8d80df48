#!/usr/bin/env python3
"""Latencies of W2 at fixed rates, from when elements were due. Started by bench/tail.

Without rates, the most that the cluster takes is measured first, and 10 % and 50 % of it are among them. With --rest the disk is
left alone between two runs: what the last one wrote and removed is still on its way there.
"""

import argparse
import os
import time

from measure import bench, build, listed

MEMORY = "/dev/shm"


def arguments():
    parser = argparse.ArgumentParser(prog="bash bench/tail", description="How fast a cluster answers at fixed rates.")
    parser.add_argument("--rates", type=listed(int), metavar="R,..",
                        help="elements a second (default: 1000, 10000, 10 %% and 50 %% of the most)")
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="of each run (default: %(default)s)")
    parser.add_argument("--rest", type=int, default=5, metavar="S", help="before each run (default: %(default)s)")
    parser.add_argument("--data", metavar="FOLDER", help="a folder on the disk (default: the temporary folder)")
    return parser.parse_args()


def most():
    told = bench("--workload", "w2", "--elements", 1_000_000, "--rounds", 3)
    return told["summary"]["elements_per_s"]["median"]


def line(name, found):
    at = [found[kind][quantile] for kind in ("submit_to_acknowledge", "submit_to_match")
          for quantile in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")]
    print(f"{name:>34}" + "".join(f"{ms:>10.2f}" for ms in at), flush=True)


def main():
    asked = arguments()
    build()
    rates = asked.rates
    if not rates:
        top = most()
        print(f"the most: {top:,.0f} elements/s\n")
        rates = [1_000, 10_000, round(top / 10, -3), round(top / 2, -3)]
    quantiles = "".join(f"{name:>10}" for name in ("p50", "p99", "p99.9", "max"))
    print(f"{'ms':>34}{'acknowledged':>40}{'matched':>40}\n{'':>34}{quantiles}{quantiles}")
    folders = [("fsync", asked.data)] + ([("memory", MEMORY)] if os.path.isdir(MEMORY) else [])
    for shape, flags in ("7 processes", []), ("up", ["--up"]):
        for kind, folder in folders:
            where = ["--data", folder] if folder else []
            runs = [(f"{rate:,.0f}/s", ["--rate", rate, "--elements", int(rate * asked.seconds)]) for rate in rates]
            runs.append(("one by one", ["--one", "--elements", 5_000]))
            for name, load in runs:
                time.sleep(asked.rest)
                told = bench("--workload", "w2", *load, *flags, *where)
                line(f"{shape}, {kind}, {name}", told["summary"])


if __name__ == "__main__":
    main()
