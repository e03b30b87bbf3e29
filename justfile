# Lists the recipes.
default:
    @just --list

# Runs the checks of continuous integration.
ci:
    .ci/run

fmt:
    cargo fmt --all

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

test *args:
    cargo test --workspace {{args}}

# Tests wake-ups in every order in which tasks can meet.
loom *args:
    RUSTFLAGS='--cfg h2conn_loom' CARGO_TARGET_DIR=target/loom cargo test --profile loom --lib loom {{args}}

# Runs a benchmark: `just bench formats`, `json` or `idle` (docs/performance.md).
bench name *args:
    cargo bench --bench {{name}} -- {{args}}

doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --open

# Runs both ends in one process. `just echo serve` and `just echo connect URL` run them separately.
echo *args:
    cargo run -q -p echo -- {{args}}
