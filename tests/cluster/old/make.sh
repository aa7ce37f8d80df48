#!/usr/bin/env bash
# How the folders beside this were made, by the release binaries of commit 13fe5e9: pools of which nothing was dropped yet, and elements
# that nobody owns. `log` has the whole log, `checkpoint` one whose beginning is in a checkpoint. tests/cluster/upgrade.rs reads them.
#
#   bash make.sh BINARIES FOLDER          log
#   FILL=1 bash make.sh BINARIES FOLDER   checkpoint
#
# Of FOLDER/data, files named lock are left out, and so are the zeros at the end of segments: the test puts them back.
set -euo pipefail
BIN=$1 OUT=$2 IP=${IP:-127.0.113.1}
mkdir -p "$OUT"
cd "$OUT"
flags="--cluster-name=tested --slices=2 --balancer=http://$IP:7400 --matchers=http://$IP:7500 --gatherers=http://$IP:8600 --index=0"
# shellcheck disable=SC2086
{
  "$BIN/dovetail-balancer" $flags --listen="$IP:7400" --data=data --checkpoint-bytes=1048576 2>balancer.log & balancer=$!
  "$BIN/dovetail-matcher" $flags --listen="$IP:7500" 2>matcher.log & matcher=$!
  "$BIN/dovetail-gatherer" $flags --listen="$IP:8600" 2>gatherer.log & gatherer=$!
}
trap 'kill $balancer $matcher $gatherer 2>/dev/null || true' EXIT
export DOVETAIL_SERVER=http://$IP:7400
dovetail() { "$BIN/dovetail" "$@"; }
until dovetail pool list >/dev/null 2>&1; do sleep 0.1; done

printf 'name = "equal"\nrule = "a.skill == b.skill"\n[attributes]\nskill = "int"\n' >equal.toml
sed 's/"equal"/"gone"/' equal.toml >gone.toml
printf 'name = "near"\nrule = "abs(a.skill - b.skill) <= 3 && a.region == b.region"\n[attributes]\nskill = "int"\nregion = "string"\n' >near.toml
printf 'name = "fill"\nrule = "a.skill == b.skill"\n[attributes]\nskill = "int"\ntext = "list<string>"\n' >fill.toml
python3 - <<'PYTHON'
import json

def write(name, elements):
    with open(name, "w") as file:
        file.writelines(json.dumps(element) + "\n" for element in elements)

write("equal.ndjson", ({"key": f"e{n}", "attributes": {"skill": n % 45}, "payload": f"p{n}", "idempotency_key": f"once-e{n}"} for n in range(60)))
write("near.ndjson", ({"key": f"n{n}", "attributes": {"skill": n * 37 % 200, "region": ["eu", "us"][n % 2]}} for n in range(60)))
write("gone.ndjson", ({"key": f"g{n}", "attributes": {"skill": n % 40}, "payload": f"p{n}"} for n in range(60)))
write("fill.ndjson", ({"key": f"f{n}", "attributes": {"skill": n // 2, "text": ["x" * 250] * 60}} for n in range(2)))
PYTHON

for pool in equal near gone; do dovetail pool define --file $pool.toml; done
for pool in equal near gone; do head -40 $pool.ndjson | dovetail submit --pool $pool -; done
if [ -n "${FILL:-}" ]; then
  dovetail pool define --file fill.toml
  until ls data/checkpoints/*.ckpt >/dev/null 2>&1; do dovetail submit --pool fill fill.ndjson; done
fi
for pool in equal near gone; do tail -n +41 $pool.ndjson | dovetail submit --pool $pool -; done
dovetail withdraw --pool equal --key e44
dovetail pool list
# What was decided is on the disk soon after.
sleep 1
for process in $balancer $matcher $gatherer; do
  kill "$process"
  wait "$process" || true
done
