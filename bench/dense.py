#!/usr/bin/env python3
"""The law of dense rules: one checked run of `dovetail bench --match-probability` a line. Started by bench/dense.

CPU time and candidates are by element. The bar is the logarithm of the rate: a mark for each factor of 1.5 above 500 a second.
"""

import argparse
import math

from measure import bench, build, listed, measures


def arguments():
    parser = argparse.ArgumentParser(prog="bash bench/dense", description="What dense rules cost.")
    parser.add_argument("--probabilities", type=listed(str), default=["1", "0.1", "0.01", "0.001"], metavar="P,..")
    parser.add_argument("--slices", type=listed(int), default=[1, 2, 4, 8, 16], metavar="N,..")
    parser.add_argument("--shards", type=listed(int), default=[1, 2, 4], metavar="N,..")
    parser.add_argument("--elements", type=int, default=20_000, metavar="N")
    return parser.parse_args()


def main():
    asked = arguments()
    build()
    columns = ["match", "slices", "shards", "elements/s", "candidates", "bytes of them", "waits", "matchers us",
               "gatherers us"]
    print("".join(f"{column:>14}" for column in columns))
    for probability in asked.probabilities:
        for slices in asked.slices:
            for shards in asked.shards:
                told = bench("--match-probability", probability, "--elements", asked.elements, "--slices", slices,
                             "--matchers", min(slices, 3), "--gatherers", shards)
                found, search = measures(told), told["rounds"][0]["search"]
                rate = found["elements_per_s"]
                row = [probability, slices, shards, f"{rate:,.0f}", f"{search['candidates'] / asked.elements:.1f}",
                       f"{found['stream_bytes']['candidates']:.0f}", f"{search['stalls']:,}",
                       f"{found['cpu_us']['matchers']:.1f}", f"{found['cpu_us']['gatherers']:.1f}"]
                bar = "#" * max(0, math.ceil(math.log(rate / 500, 1.5)))
                print("".join(f"{value:>14}" for value in row), bar, flush=True)


if __name__ == "__main__":
    main()
