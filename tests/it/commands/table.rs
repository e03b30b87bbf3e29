//! The table: how each command and each piece of code is run, or the reason why it is not.

/// The way in which a command or a piece of code is run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    /// `.ci/run`, which contains this text.
    Ci(&'static str),
    /// The test of this name in this file.
    Test(&'static str, &'static str),
    /// Nothing, for this reason. It was typed by hand.
    Hand(&'static str),
}

use Run::{Ci, Hand, Test};

const MEASURES: Run =
    Hand("an optimized build and a measurement, which need an idle machine for minutes");
const INSTALLS: &str = "it installs programs on the machine";

const TOOL: Run = Test(
    "crates/cli/tests/it/document.rs",
    "those_of_the_quick_start_and_of_the_options_do_what_the_document_shows",
);
const BROWSER: Run =
    Test("examples/browser/tests/it/main.rs", "a_browser_has_its_conn_over_http_2");
const CHAT: Run =
    Test("examples/chat/tests/it/web.rs", "a_page_over_http_2_and_go_and_we_hear_each_other");
const TERMINAL: Run =
    Test("examples/chat/tests/it/client.rs", "the_host_hints_at_a_command_that_joins");

/// The commands, without the remarks behind `#`.
pub(super) const COMMANDS: [(&str, Run); 53] = [
    // README.md, CONTRIBUTING.md
    ("cargo run -p echo", Ci("cargo run -q -p echo")),
    ("cargo test --workspace", Ci("tests cargo test --workspace\n")),
    ("cargo install --path crates/cli", Hand(INSTALLS)),
    ("h2conn listen 127.0.0.1:9445 --echo --keep-open &", TOOL),
    ("echo hello | h2conn connect -k localhost:9445", TOOL),
    (".ci/run", Hand("it runs this test")),
    // docs/guide.md
    (
        r"printf 'hi\n' | curl -skN --http2 -T . https://127.0.0.1:8000/",
        Ci("curl -kN --no-progress-meter --max-time 20 --http2 -T . \"$url\""),
    ),
    (
        "h2conn doctor http://127.0.0.1:8000/doctor/",
        Test("crates/cli/tests/it/doctor.rs", "all_is_well_in_a_served_router"),
    ),
    // docs/tls.md
    (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost",
        Test(
            "tests/it/openssl.rs",
            "a_certificate_of_plain_openssl_is_accepted_where_it_was_given",
        ),
    ),
    (
        "openssl x509 -noout -fingerprint -sha256 -in cert.pem",
        Test("tests/it/openssl.rs", "the_fingerprint_that_openssl_prints_can_be_pinned"),
    ),
    // docs/interop.md
    ("npm ci --prefix interop/browser", Ci("npm ci --prefix interop/browser\n")),
    ("cargo run -p browser", BROWSER),
    (
        "node interop/browser/echo.mjs --http2 --screenshot echo.png https://localhost:8000/",
        BROWSER,
    ),
    ("cargo run -p chat -- serve --cert cert.pem --key key.pem", CHAT),
    (
        "node interop/browser/chat.mjs --http2 --screenshot chat.png https://localhost:8000/ ada",
        CHAT,
    ),
    (
        "cd interop/go && go run . -roots \"$(cat ../../cert.pem)\" chat https://localhost:8000/ gopher",
        CHAT,
    ),
    // examples/chat/README.md
    ("cargo run -p chat", TERMINAL),
    ("cargo run -p chat -- connect https://localhost:8000/ --name ada -k", TERMINAL),
    (
        "curl -kNT . https://localhost:8000/json",
        Test("examples/chat/tests/it/web.rs", "curl_posts_in_json"),
    ),
    // docs/performance.md
    ("cargo bench --bench formats", MEASURES),
    ("cargo bench --bench json", MEASURES),
    ("cargo bench --bench idle", MEASURES),
    ("cd benches/peers", Ci("--manifest-path benches/peers/Cargo.toml")),
    ("cargo run --release -- run", Ci("benches/peers/Cargo.toml --target-dir target -- run")),
    (
        "cargo run --release -- run --workload bulk --peer h2conn --peer tonic --rounds 3",
        Ci("benches/peers/Cargo.toml --target-dir target -- run"),
    ),
    ("cargo run --release -- instructions", MEASURES),
    ("cargo run --release -- requests --rounds 3", MEASURES),
    (
        "head -c 1073741824 /dev/zero | h2conn connect --cacert c.pem https://127.0.0.1:7001/",
        MEASURES,
    ),
    (
        "cargo run --release -- run --workload bulk --round-trip 100 --rate 1000 --rounds 3 --millis 5000 --cleartext",
        MEASURES,
    ),
    ("H2CONN_LONG=1 cargo test --release -p chat --test it load -- --nocapture", MEASURES),
    // docs/testing.md
    (
        "H2CONN_LONG=1 cargo test --test it -- honest bulk churn hostile keep_alive slow_line nettest",
        Ci("honest bulk churn hostile keep_alive slow_line\n"),
    ),
    ("H2CONN_LONG=1 cargo test --release --test it -- model", MEASURES),
    (
        "RUSTFLAGS='--cfg h2conn_loom' CARGO_TARGET_DIR=target/loom cargo test --profile loom --lib loom",
        Ci("cargo test --profile loom --lib loom; }"),
    ),
    (
        "cargo test --lib --no-default-features",
        Ci("tests cargo test --lib --no-default-features\n"),
    ),
    (
        "cargo test --lib --no-default-features --features aws-lc-rs tls",
        Ci("tests cargo test --lib --no-default-features --features aws-lc-rs tls\n"),
    ),
    (
        "cargo test --manifest-path interop/axum-server/Cargo.toml --target-dir target",
        Ci("cargo test --manifest-path interop/axum-server/Cargo.toml --target-dir target)"),
    ),
    (
        "cargo test --manifest-path interop/grpc/Cargo.toml --target-dir target",
        Ci("tests cargo test --manifest-path interop/grpc/Cargo.toml --target-dir target\n"),
    ),
    (
        ".ci/windows",
        Hand("it builds all dependencies and std for Windows, which takes as long again"),
    ),
    (
        "cargo fuzz run --release --sanitizer none server_link -- -max_total_time=600 -timeout=20 \
         -rss_limit_mb=1024 -max_len=4096",
        Ci("cargo fuzz run --release --sanitizer none \"$1\""),
    ),
    ("cargo test -p browser -- --nocapture", Ci("tests cargo test --workspace\n")),
    ("apt-get install nginx haproxy apache2-bin nghttp2-proxy", Ci("missing+=(nginx)")),
    ("python3 -m venv interop/proxies/.venv", Ci("python3 -m venv interop/proxies/.venv\n")),
    (
        "interop/proxies/.venv/bin/pip install -r interop/proxies/requirements.txt",
        Ci("-r interop/proxies/requirements.txt\n"),
    ),
    (
        "cargo test -p h2conn-cli --test it proxies",
        Ci("cargo test -p h2conn-cli --test it proxies"),
    ),
    (
        "cargo test --release -p h2conn-cli --test it -- --ignored --nocapture proxies::speed",
        MEASURES,
    ),
    ("npm ci --prefix interop/websocket/node", Ci("npm ci --prefix interop/websocket/node\n")),
    (
        "python3 -m venv interop/websocket/python/.venv",
        Ci("python3 -m venv interop/websocket/python/.venv\n"),
    ),
    (
        "interop/websocket/python/.venv/bin/pip install -r interop/websocket/python/requirements.txt",
        Ci("-r interop/websocket/python/requirements.txt\n"),
    ),
    ("cargo test -p h2conn-cli --test it foreign", Ci("tests cargo test --workspace\n")),
    ("python3 -m venv interop/python/.venv", Ci("python3 -m venv interop/python/.venv\n")),
    (
        "interop/python/.venv/bin/pip install -r interop/python/requirements.txt",
        Ci("-r interop/python/requirements.txt"),
    ),
    (
        "RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo check -Zbuild-std \
         --target x86_64-unknown-freebsd -p h2conn -p h2conn-engine --no-default-features",
        Hand("it builds std from the sources of Debian's compiler"),
    ),
    (
        "RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo check -Zbuild-std \
         --target aarch64-apple-darwin -p h2conn -p h2conn-engine --no-default-features",
        Hand("it builds std from the sources of Debian's compiler"),
    ),
];

pub(super) const DOCTESTS: Run = Ci("tests cargo test --workspace\n");
const PROXIES: Run =
    Test("crates/cli/tests/it/proxies.rs", "the_document_shows_the_configurations_that_were_run");
const DEPENDENCIES: Run = Hand("lines of another crate's Cargo.toml");

/// The languages of the other pieces in each document.
pub(super) const PIECES: [(&str, &str, Run); 22] = [
    ("README.md", "rust", DOCTESTS),
    ("README.md", "toml", DEPENDENCIES),
    ("docs/cli.md", "ini", Hand("a service of systemd, which a machine under test may not have")),
    ("docs/formats.md", "rust", DOCTESTS),
    ("docs/formats.md", "toml", DEPENDENCIES),
    ("docs/guide.md", "rust", DOCTESTS),
    ("docs/guide.md", "rust,no_run", DOCTESTS),
    (
        "docs/guide.md",
        "diff",
        Test("tests/it/commands.rs", "the_lines_for_a_router_are_those_of_the_example"),
    ),
    (
        "docs/guide.md",
        "js",
        Test(
            "examples/browser/tests/it/main.rs",
            "a_page_talks_in_json_and_shows_its_token_over_http_2",
        ),
    ),
    ("docs/guide.md", "go", Hand("Go's module proxy does not have the library that it uses")),
    (
        "docs/interop.md",
        "go",
        Test("tests/it/go.rs", "the_go_code_in_the_documents_is_what_is_tested"),
    ),
    (
        "docs/interop.md",
        "js",
        Test("tests/it/node.rs", "the_node_code_in_the_documents_is_what_is_tested"),
    ),
    (
        "docs/interop.md",
        "python",
        Test("tests/it/python.rs", "the_python_code_in_the_documents_is_what_is_tested"),
    ),
    ("docs/operations.md", "rust,no_run", DOCTESTS),
    ("docs/proxies.md", "apache", PROXIES),
    ("docs/proxies.md", "caddyfile", PROXIES),
    ("docs/proxies.md", "haproxy", PROXIES),
    ("docs/proxies.md", "ini", PROXIES),
    ("docs/proxies.md", "nginx", PROXIES),
    ("docs/proxies.md", "yaml", PROXIES),
    ("docs/tls.md", "rust", DOCTESTS),
    ("docs/tls.md", "toml", DEPENDENCIES),
];
