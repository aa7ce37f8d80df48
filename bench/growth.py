#!/usr/bin/env python3
"""How the work of a cluster grows with slices, shards, waiting elements and elements: tables and plots of `dovetail bench`.
Started by bench/growth. Builds what it runs.

Bytes, probes and candidates are counts, and the same on every machine; CPU time and memory are this machine's.
"""

import argparse
import json
import os
import sys
import tempfile

from measure import bench, build, measures

SWEEPS = "slices shards nodes waiting elements".split()


def arguments():
    parser = argparse.ArgumentParser(prog="bash bench/growth", description="How work and memory grow.")
    parser.add_argument("--only", default=",".join(SWEEPS), metavar="A,B", help=f"of {', '.join(SWEEPS)}")
    parser.add_argument("--waiting-max", type=int, default=1_000_000, metavar="N",
                        help="most elements waiting (default: %(default)s; 10000000 takes 10 GB of disk and a while)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def by_slices():
    """W5, split by element: every slice searches for every element, among its share of those that wait."""
    rows = []
    for slices in [1, 2, 4, 8, 16, 32, 64]:
        found = measures(bench("--workload", "w5", "--elements", 20_000, "--slices", slices,
                               "--matchers", min(slices, 2), "--gatherers", 2))
        rows.append((slices, {
            "probes": found["probes"],
            "matcher us": found["cpu_us"]["matchers"],
            "us a slice": found["cpu_us"]["matchers"] / slices,
            "feed B": found["stream_bytes"]["feed"],
            "candidates B": found["stream_bytes"]["candidates"],
            "decisions B": sum(b for name, b in found["stream_bytes"].items() if name.startswith("decisions")),
        }))
    return "slices", "W5, 20,000 elements, 2 matchers, 2 gatherers; by element", rows, "us a slice"


def by_shards():
    """W5: whoever is homed elsewhere is asked for, and every watermark goes to everybody."""
    rows = []
    for shards in [1, 2, 4, 8, 16]:
        found = measures(bench("--workload", "w5", "--elements", 20_000, "--slices", 4, "--matchers", 2,
                               "--gatherers", shards))
        streams = found["stream_bytes"]
        rows.append((shards, {
            "gatherer us": found["cpu_us"]["gatherers"],
            "us a shard": found["cpu_us"]["gatherers"] / shards,
            "candidates B": streams["candidates"],
            "to balancer B": streams.get("decisions to balancer", 0),
            "to matchers B": streams.get("decisions to matchers", 0),
            "to gatherers B": streams.get("decisions to gatherers", 0),
        }))
    return "shards", "W5, 20,000 elements, 4 slices, 2 matchers; by element", rows, "to matchers B"


def by_nodes():
    """W2 at a low rate, a frame for nearly every element: what a frame costs where few nodes are concerned by it. At match
    probability 0.5 and split by element all are."""
    rows = []
    for nodes in [1, 2, 4, 8]:
        row = {}
        for name, load in ("keyed", ["--workload", "w2"]), ("by element", ["--match-probability", 0.5]):
            told = bench(*load, "--rate", 1_000, "--elements", 5_000, "--slices", 16, "--matchers", nodes,
                         "--gatherers", nodes)
            row[f"{name}, us"] = sum(measures(told)["cpu_us"].values())
            row[f"{name}, ms"] = told["summary"]["submit_to_match"]["p50_ms"]
        rows.append((nodes, row))
    return "nodes", "1,000 elements/s, so many matchers and gatherers; all nodes' CPU by element, matched p50", rows, "keyed, us"


PAYLOAD = "x" * 83
POOL = """name = "nobody"
rule = "a.cell == b.cell"
[attributes]
cell = "int"
"""


def by_waiting(most):
    """Nobody matches: all wait. 100 bytes each, of which the key takes 9, the attribute 8."""
    rows = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        pool, elements = os.path.join(folder, "pool.toml"), os.path.join(folder, "elements.ndjson")
        with open(pool, "w", encoding="utf-8") as file:
            file.write(POOL)
        empty = None
        for waiting in [1_000, 10_000, 100_000, 1_000_000, 10_000_000]:
            if waiting > most:
                break
            with open(elements, "w", encoding="utf-8") as file:
                for number in range(waiting):
                    file.write(f'{{"key":"k{number:08}","attributes":{{"cell":{number}}},"payload":"{PAYLOAD}"}}\n')
            found = measures(bench(pool=pool, elements=elements))
            peak = found["peak_bytes"]
            empty = empty or peak
            grown = {role: (peak[role] - empty[role]) / waiting for role in peak}
            rows.append((waiting, {
                "balancer MB": peak["balancer"] / 1e6,
                "matchers MB": peak["matchers"] / 1e6,
                "gatherers MB": peak["gatherers"] / 1e6,
                "balancer B": grown["balancer"],
                "matchers B": grown["matchers"],
                "all B": sum(grown.values()),
                "elements/s": found["elements_per_s"],
            }))
    return "waiting", "elements that match nobody, 100 bytes each; peak memory, and what was added by element", rows, "all B"


def by_elements():
    """W2: what an element costs does not grow with how many there were."""
    rows = []
    for count in [20_000, 100_000, 1_000_000, 4_000_000]:
        found = measures(bench("--workload", "w2", "--elements", count, "--in-flight", 64))
        rows.append((count, {
            "balancer us": found["cpu_us"]["balancer"],
            "matcher us": found["cpu_us"]["matchers"],
            "gatherer us": found["cpu_us"]["gatherers"],
            "bytes": sum(found["stream_bytes"].values()),
            "balancer MB": found["peak_bytes"]["balancer"] / 1e6,
            "elements/s": found["elements_per_s"],
        }))
    return "elements", "W2, 3 matchers, 3 gatherers, 6 slices; by element", rows, "balancer us"


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 or value <= 0 else f"{value:.4f}"


def table(name, title, rows, plotted):
    lines = [title, ""]
    columns = list(rows[0][1])
    head = [f"{name:>10}"] + [f"{column:>15}" for column in columns]
    lines.append("".join(head))
    for at, row in rows:
        lines.append(f"{at:>10,}" + "".join(f"{number(row[column]):>15}" for column in columns))
    lines += ["", f"{plotted}:"]
    most = max(max(row[plotted] for _, row in rows), 1e-9)
    for at, row in rows:
        lines.append(f"{at:>10,}  {'#' * max(round(50 * row[plotted] / most), 0)} {number(row[plotted])}")
    return "\n".join(lines) + "\n"


def main():
    asked = arguments()
    only = asked.only.split(",")
    unknown = [name for name in only if name not in SWEEPS]
    if unknown:
        sys.exit(f"--only: {unknown[0]} is none of {', '.join(SWEEPS)}")
    build()
    sweeps = {"slices": by_slices, "shards": by_shards, "nodes": by_nodes, "waiting": lambda: by_waiting(asked.waiting_max),
              "elements": by_elements}
    told = {}
    for name in only:
        print(f"{name} ...", file=sys.stderr)
        name, title, rows, plotted = sweeps[name]()
        told[name] = {"title": title, "rows": [{name: at, **row} for at, row in rows]}
        if not asked.json:
            print(table(name, title, rows, plotted), flush=True)
    if asked.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
