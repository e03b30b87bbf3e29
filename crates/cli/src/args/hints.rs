//! Hints for users of curl, ncat and ssh, where they type an option that this program does not have.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options that these commands do not have, and the text that names ours.
struct Hint {
    commands: &'static [&'static str],
    options: &'static [&'static str],
    text: &'static str,
}

const CLIENTS: &[&str] = &["", "connect", "ping", "forward", "send", "recv"];
const SERVERS: &[&str] = &["listen", "serve"];
const LISTEN: &[&str] = &["listen"];
const PING: &[&str] = &["ping"];
const PLAIN: &[&str] = &["", "connect", "listen", "ping", "send", "recv"];
const ALL: &[&str] = &["", "connect", "listen", "ping", "forward", "serve", "send", "recv"];

/// The first hint that fits counts. An empty command stands for a line without one: `h2conn -l`.
const HINTS: &[Hint] = &[
    // Short options that have another meaning in this program than in ncat and ping.
    hint(
        LISTEN,
        &["-k"],
        "--keep-open serves more than one connection; -k is --insecure, in the commands that \
         connect",
    ),
    hint(
        PING,
        &["-i"],
        "--interval is the time between two PINGs; -i is --idle-timeout, in other commands",
    ),
    hint(PING, &["-q"], "--quiet prints only the statistics; -q is --linger, in other commands"),
    // ncat and nc.
    hint(
        &["listen"],
        &["-l", "--listen"],
        "`h2conn listen ADDR` is that already; ADDR is HOST:PORT or PORT",
    ),
    hint(ALL, &["-l", "--listen"], "`h2conn listen ADDR` listens; ADDR is HOST:PORT or PORT"),
    hint(
        SERVERS,
        &["-p", "--port", "--local-port", "--source-port"],
        "the port is part of the address: HOST:PORT, or PORT alone",
    ),
    hint(
        CLIENTS,
        &["-p", "--port", "--local-port", "--source-port"],
        "the port is part of the URL: HOST:PORT; the system chooses the port on this side",
    ),
    hint(SERVERS, &["--ssl", "--ssl-verify"], "TLS is the default; --cleartext does without it"),
    hint(
        CLIENTS,
        &["--ssl", "--ssl-verify", "--cleartext", "--tls"],
        "TLS is the default, and the certificate is checked; a URL that begins with http:// is \
         HTTP/2 without TLS",
    ),
    hint(ALL, &["--ssl-cert", "--ssl-key", "-E"], "--cert FILE and --key FILE"),
    hint(
        CLIENTS,
        &["--ssl-trustfile", "--capath"],
        "--cacert FILE trusts the certificates in a PEM file, and no others; without it those of \
         the system are trusted",
    ),
    hint(
        SERVERS,
        &["--ssl-trustfile", "--cacert", "--capath"],
        "--client-ca FILE lets in only clients whose certificate is signed by one in a PEM file",
    ),
    hint(
        SERVERS,
        &["-k", "--insecure"],
        "it is an option of the commands that connect; --cleartext does without TLS",
    ),
    hint(
        LISTEN,
        &["-c", "--sh-exec", "--lua-exec"],
        "--exec COMMAND (-e) runs a command through the shell for each connection",
    ),
    hint(
        CLIENTS,
        &["-e", "--exec", "--echo", "--to", "--keep-open"],
        "it is an option of `h2conn listen`",
    ),
    hint(
        &["", "connect", "forward", "send", "recv"],
        &["-c", "--sh-exec"],
        "`h2conn listen --exec COMMAND` runs a command for each connection",
    ),
    hint(
        LISTEN,
        &["--allow", "--deny", "--allowfile", "--denyfile"],
        "addresses are not filtered; --client-ca lets in only clients with a certificate",
    ),
    hint(LISTEN, &["--broker", "--chat"], "the clients of a listener do not hear each other"),
    hint(SERVERS, &["-u", "--udp", "--sctp"], "HTTP/2 runs over TCP, and so does everything here"),
    hint(
        SERVERS,
        &["-U", "--unixsock", "--unix-socket"],
        "the address unix:PATH is a Unix domain socket",
    ),
    hint(CLIENTS, &["--unixsock"], "--unix-socket PATH"),
    hint(PLAIN, &["-z"], "`h2conn ping -c 1 URL` tells whether a server answers"),
    hint(
        PLAIN,
        &["--send-only", "--recv-only"],
        "`>/dev/null` drops what is received, and `</dev/null` sends nothing",
    ),
    hint(
        &["ping"],
        &["-w", "--wait", "-m", "--max-time"],
        "--timeout (-W) limits the wait for each answer, and --count (-c) their number",
    ),
    hint(
        &["forward", "send", "recv"],
        &["-w", "--wait", "-m", "--max-time"],
        "--connect-timeout limits making the connection, --idle-timeout (-i) the time in which no \
         bytes move",
    ),
    hint(
        &["", "connect"],
        &["-w", "--wait", "-m", "--max-time"],
        "--connect-timeout limits making the connection, --idle-timeout (-i) the time in which no \
         bytes move, and --linger (-q) the time after the end of the input; --stats reports what \
         a connection has carried",
    ),
    hint(
        SERVERS,
        &["-w", "--wait", "--max-time"],
        "--idle-timeout (-i) limits the time in which no bytes move",
    ),
    hint(
        SERVERS,
        &["-4", "-6", "--ipv4", "--ipv6"],
        "the address says it: 0.0.0.0:PORT is IPv4, and [::]:PORT is IPv6",
    ),
    hint(
        CLIENTS,
        &["-4", "-6", "--ipv4", "--ipv6", "-n", "--nodns"],
        "an address can stand in the URL, or in --resolve HOST:PORT:ADDR",
    ),
    hint(
        CLIENTS,
        &[
            "--proxy-type",
            "--proxy-auth",
            "--proxy-user",
            "--socks4",
            "--socks5",
            "--socks5-hostname",
        ],
        "-x URL is a proxy: http://[USER:PASSWORD@]HOST:PORT, or socks5h://HOST:PORT",
    ),
    hint(
        CLIENTS,
        &["--noproxy"],
        "-x '' uses no proxy, and the variable NO_PROXY lists hosts without one",
    ),
    // curl.
    hint(
        CLIENTS,
        &[
            "-d",
            "--data",
            "--data-ascii",
            "--data-binary",
            "--data-raw",
            "--data-urlencode",
            "--json",
            "-F",
            "--form",
            "-T",
            "--upload-file",
        ],
        "standard input is sent, as in `h2conn connect URL <FILE`; `h2conn send` sends files to \
         `h2conn serve`",
    ),
    hint(
        CLIENTS,
        &["-o", "--output", "-O", "--remote-name", "-J", "--remote-header-name"],
        "standard output is what is received, as in `h2conn connect URL >FILE`; `h2conn recv` \
         receives files from `h2conn serve`",
    ),
    hint(
        CLIENTS,
        &["-u", "--user", "--basic", "--oauth2-bearer"],
        "a header field carries it: -H @FILE, with a line such as 'authorization: Basic …' in the \
         file",
    ),
    hint(CLIENTS, &["-b", "--cookie"], "-H 'cookie: NAME=VALUE', or -H @FILE"),
    hint(CLIENTS, &["-A", "--user-agent"], "-H 'user-agent: NAME'"),
    hint(CLIENTS, &["--referer"], "-H 'referer: URL'"),
    hint(CLIENTS, &["-G", "--get"], "-X GET"),
    hint(
        CLIENTS,
        &["-I", "--head", "--include", "--show-headers"],
        "-v shows the header fields of request and response, on standard error",
    ),
    hint(PLAIN, &["-L", "--location"], "redirects are not followed: -v shows the field 'location'"),
    hint(
        CLIENTS,
        &["--fail", "--fail-with-body"],
        "leave it out: a status other than 2xx is exit code 4",
    ),
    hint(
        PLAIN,
        &["-s", "--silent", "-S", "--show-error", "-N", "--no-buffer"],
        "leave it out: standard output is only data, and is written as it arrives",
    ),
    hint(
        CLIENTS,
        &["--http1.1", "--http2", "--http2-prior-knowledge", "--http3", "--ssl-alpn"],
        "leave it out: everything here is HTTP/2; over http:// it begins with prior knowledge",
    ),
    hint(
        &["", "connect", "forward", "send", "recv"],
        &["--retry", "--retry-all-errors", "--retry-connrefused"],
        "--reconnect connects again after a failure that may pass",
    ),
    hint(ALL, &["--trace", "--trace-ascii", "--hex-dump"], "-vvv shows each frame"),
    // Others.
    hint(
        &["", "connect", "ping"],
        &["--token"],
        "-H @FILE, with the line 'authorization: Bearer TOKEN' in the file: all users of a machine can see a \
         command line",
    ),
    hint(
        &["forward", "serve", "send", "recv"],
        &["--token"],
        "--token-file FILE, or the variable H2CONN_TOKEN: all users of a machine can see a \
         command line",
    ),
    hint(ALL, &["-V", "--version"], "`h2conn --version`"),
];

const fn hint(
    commands: &'static [&'static str],
    options: &'static [&'static str],
    text: &'static str,
) -> Hint {
    Hint { commands, options, text }
}

/// Adds the hint for an unknown option, or for a place without a command, to an error of clap.
///
/// `words` are those of the command line, with the program's name.
pub(crate) fn explained(mut error: clap::Error, words: &[String]) -> clap::Error {
    let hint = match error.kind() {
        ErrorKind::UnknownArgument => {
            let unknown = text(&error, ContextKind::InvalidArg);
            let command = words.iter().skip(1).find(|word| ALL.contains(&word.as_str()));
            unknown.and_then(|unknown| of_argument(command.map_or("", String::as_str), unknown))
        }
        ErrorKind::InvalidSubcommand => {
            text(&error, ContextKind::InvalidSubcommand).and_then(of_command)
        }
        _ => None,
    };
    if text(&error, ContextKind::InvalidSubcommand).is_some_and(|text| text.contains('@')) {
        // A URL in the command's place can have a password.
        let hidden = ContextValue::String("(hidden)".to_owned());
        error.insert(ContextKind::InvalidSubcommand, hidden);
    }
    if let Some(hint) = hint {
        // clap's own tips would mislead.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    } else if let Some(ContextValue::StyledStrs(tips)) = error.get(ContextKind::Suggested) {
        // No URL, address or name of a file begins as an option does.
        let is_useful = |tip: &&StyledStr| !tip.to_string().contains("as a value");
        let tips = tips.iter().filter(is_useful).cloned().collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

fn of_argument(command: &str, unknown: &str) -> Option<&'static str> {
    let option = unknown.split_once('=').map_or(unknown, |(option, _)| option);
    let fits = |hint: &&Hint| hint.commands.contains(&command) && hint.options.contains(&option);
    if let Some(hint) = HINTS.iter().find(fits) {
        return Some(hint.text);
    }
    let is_port = !option.is_empty() && option.bytes().all(|byte| byte.is_ascii_digit());
    is_port.then_some("host and port are one argument: HOST:PORT")
}

fn of_command(unknown: &str) -> Option<&'static str> {
    let is_place = unknown.contains([':', '/', '.']) || unknown.parse::<u16>().is_ok();
    is_place.then_some("`h2conn connect URL` connects, and `h2conn listen ADDR` listens")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Args;

    /// The error text for a command line.
    fn said(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Args::try_parse_from(&words).map(drop).expect_err(line);
        explained(error, &words).to_string()
    }

    #[test]
    fn an_unknown_option_gets_no_advice_to_pass_it_as_a_value() {
        for line in ["h2conn connect --nope host", "h2conn listen --nope", "h2conn send --nope f u"]
        {
            let said = said(line);
            assert!(said.contains("--nope") && !said.contains("as a value"), "{line}: {said}");
        }
    }

    #[test]
    fn options_of_others_get_a_hint_that_names_ours() {
        let table = [
            ("h2conn listen 9445 -k", "--keep-open"),
            ("h2conn ping -i 1 host", "--interval"),
            ("h2conn ping -q host", "--quiet"),
            ("h2conn -l 9445", "`h2conn listen ADDR`"),
            ("h2conn connect -l 9445", "`h2conn listen ADDR`"),
            ("h2conn listen -l -p 9445", "that already"),
            ("h2conn listen -p 9445", "PORT alone"),
            ("h2conn connect -p 443 host", "HOST:PORT"),
            ("h2conn connect host 443", "HOST:PORT"),
            ("h2conn listen 127.0.0.1 9445", "HOST:PORT"),
            ("h2conn connect -e cat host", "`h2conn listen`"),
            ("h2conn listen 9445 --insecure", "--cleartext"),
            ("h2conn listen 9445 --ssl", "--cleartext"),
            ("h2conn connect --ssl host", "http://"),
            ("h2conn connect -w 5 host", "--connect-timeout"),
            ("h2conn connect -d x host", "standard input"),
            ("h2conn connect --data=x host", "standard input"),
            ("h2conn connect -kd x host", "standard input"),
            ("h2conn connect -o file host", "standard output"),
            ("h2conn connect -u name:hunter2 host", "-H @FILE"),
            ("h2conn listen 9445 -u", "TCP"),
            ("h2conn forward host -L 1 --token hunter2", "--token-file"),
            ("h2conn https://user:hunter2@host/", "`h2conn connect URL`"),
            ("h2conn localhost:9445", "`h2conn connect URL`"),
            ("h2conn user:hunter2@host:1", "`h2conn connect URL`"),
            ("h2conn connect --token hunter2 host", "-H @FILE"),
            ("h2conn ping -w 5 host", "--timeout (-W)"),
            ("h2conn recv -c x host", "`h2conn listen --exec COMMAND`"),
        ];
        for (line, part) in table {
            let said = said(line);
            assert!(said.contains("tip: ") && said.contains(part), "{line}: {said}");
            let shown = said.replace("https://user:hunter2@host/", "");
            assert!(!shown.contains("hunter2"), "{line}: {said}");
        }
    }

    #[test]
    fn other_errors_are_those_of_clap() {
        assert!(said("h2conn conect host").contains("'connect'"));
        assert!(said("h2conn connect --hedaer a:b host").contains("'--header'"));
        assert!(!said("h2conn connect --frobnicate host").contains("`"));
    }

    #[test]
    fn each_hint_is_of_use_to_some_command() {
        let mut root = Args::command();
        root.build();
        let knows = |name: &str, option: &str| {
            let command = root.find_subcommand(name).expect(name);
            command.get_arguments().any(|arg| {
                let long = arg.get_long().is_some_and(|long| format!("--{long}") == option);
                long || arg.get_short().is_some_and(|short| format!("-{short}") == option)
            })
        };
        for hint in HINTS {
            let mut names = hint.commands.iter().filter(|name| !name.is_empty());
            for option in hint.options {
                assert!(names.clone().any(|name| !knows(name, option)), "{option}: {}", hint.text);
            }
            assert!(names.next().is_some());
        }
    }
}
