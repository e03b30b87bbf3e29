# Shows the recipes.
default:
    @just --list

# What continuous integration runs.
ci:
    .ci/run

fmt:
    cargo fmt --all

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

test *args:
    cargo test --workspace {{args}}

doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --open

# Both ends in one process; `just echo serve` and `just echo connect URL` run them apart.
echo *args:
    cargo run -q --example echo -- {{args}}
