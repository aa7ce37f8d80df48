# `just` lists the recipes. Every one is a line that can be typed as well.

_default:
    @{{just_executable()}} --list --unsorted

# Checks everything, changes nothing
verify:
    bash .ci/run fmt pure-core shape proto deny clippy build chaos test upgrade doc sim

# Formats, and repairs what clippy can
fix:
    cargo fmt --all
    cargo clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged

# The tests
test *ARGS:
    cargo test --release --workspace {{ARGS}}

# The tools that tests and checks use: buf, grpcio, grpcurl
tools:
    bash .ci/run tools

# The simulator over a range of seeds: just sim 0..100000
sim SEEDS="0..60000":
    cargo run --release -p dovetail-sim -- --seeds {{SEEDS}}

# Every planted bug must be found
planted BUG="all":
    cargo run --release -p dovetail-sim -- --planted {{BUG}}

# The log, beside raw append and fdatasync
bench-log:
    cargo bench -p dovetail-log

# Dovetail beside PostgreSQL, Redis, one thread and gRPC alone: just bench-peers --workload w1
bench-peers *ARGS:
    bash bench/run {{ARGS}}

# The documentation of all crates
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# A whole cluster in this terminal
up *ARGS:
    cargo run --release -- up {{ARGS}}

# Writes the settings table of docs/operations.md anew
update-docs:
    UPDATE_DOCS=1 cargo test --release --test deploy
