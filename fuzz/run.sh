#!/usr/bin/env bash
# Fuzzes one target, on stable Rust, with libFuzzer. README.md says more.
#
#   bash fuzz/run.sh parser                     until something is found, or Ctrl-C
#   bash fuzz/run.sh planner -max_total_time=300
#   bash fuzz/run.sh peers                      of nodes; the first build takes some minutes
#   bash fuzz/run.sh parser fuzz/found/crash-…  this input only
set -euo pipefail
cd "$(dirname "$0")"

target=${1:?which target: parser, planner, submit, peers, disk or access}
shift
TARGET_DIR=${FUZZ_TARGET_DIR:-$PWD/target}

# What `cargo fuzz` does with a nightly compiler's `-Z sanitizer`, without the sanitizer: coverage for libFuzzer to steer by.
# Overflow and our own assertions panic; a panic aborts, and libFuzzer keeps the input.
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module -C codegen-units=1
  -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters
  -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares
  -C debug-assertions -C overflow-checks"
# With --target, flags are not for build scripts and macros, which have no libFuzzer to link.
host=$(rustc -vV | sed -n 's/^host: //p')
case $target in
  parser | planner) package=dovetail-fuzz profile=release ;;
  *) package=dovetail-fuzz-nodes profile=nodes ;;
esac
export CARGO_TARGET_DIR=$TARGET_DIR
build=(cargo build --quiet --profile "$profile" --locked -p "$package" --features libfuzzer --target "$host")
"${build[@]}" --bin "$target"
binary=$TARGET_DIR/$host/$profile/$target

mkdir -p found
if [ $# -gt 0 ] && [ -e "../$1" ]; then exec "$binary" "../$1"; fi

# Inputs are kept here from run to run. The corpus of hostile rules is where they begin: a byte before each says that it is a rule.
corpus=$TARGET_DIR/corpus/$target
mkdir -p "$corpus"
options=(-artifact_prefix="$PWD/found/" -timeout=5 -rss_limit_mb=1024)
if [ "$package" = dovetail-fuzz-nodes ]; then
  # Messages, folders and files as they are when all is well.
  DOVETAIL_SEEDS=$corpus "$binary"
  # And what was worth keeping of earlier runs.
  if [ -d "nodes/corpus/$target" ]; then cp "nodes/corpus/$target"/* "$corpus"; fi
  exec "$binary" "${options[@]}" -max_len=8192 "$@" "$corpus"
fi
case $target in parser) first='\x00' ;; *) first='\xff' ;; esac
for rule in ../crates/rule/tests/hostile/corpus/*.cel; do
  { printf '%b' "$first"; cat "$rule"; printf '\xff\x05\xd2\x03'; } >"$corpus/$(basename "$rule" .cel)"
done
exec "$binary" "${options[@]}" -dict=rule.dict -max_len=1600 "$@" "$corpus"
