//! The examples at the end of each help text and manual page. Tests parse their command lines, and run them.

pub(super) const H2CONN: &str = r"Examples:
  A listener that sends everything back, and a client of it in another terminal:
    $ h2conn listen 127.0.0.1:9445 --echo --keep-open
    $ h2conn connect -k localhost:9445

  `h2conn COMMAND --help` has examples of each command.";

pub(super) const CONNECT: &str = r"Examples:
  Talk to a listener on this machine, whatever its certificate is:
    $ h2conn connect -k localhost:9445
  Send a file, and save what the server answers:
    $ h2conn connect --cacert cert.pem server.example:9445 \
        <question.txt >answer.txt
  Send header fields that are in a file, and connect again after a break:
    $ h2conn connect -H @fields.txt --reconnect https://server.example/live
  Without TLS, through a Unix domain socket:
    $ h2conn connect --unix-socket app.sock http://localhost/
  Talk to a server of WebSockets, a line for each text message:
    $ h2conn connect wss://server.example/chat";

pub(super) const LISTEN: &str = r"Examples:
  Talk to one client, on port 9445 of all IPv4 addresses:
    $ h2conn listen 9445
  Send everything back, to any number of clients on this machine:
    $ h2conn listen 127.0.0.1:9445 --echo --keep-open
  Run a command for each client; have the same certificate after a restart:
    $ h2conn listen server.example:9445 --identity identity.pem \
        --exec 'sort -r' --keep-open
  Pass each connection on to a TCP server:
    $ h2conn listen 9445 --to localhost:5432 --keep-open";

pub(super) const PING: &str = r"Examples:
  Three PINGs, whatever the certificate is:
    $ h2conn ping -k -c 3 localhost:9445
  Ten PINGs a second, and only the statistics:
    $ h2conn ping --cacert cert.pem --interval 100ms -c 50 --quiet \
        server.example:9445";

pub(super) const DOCTOR: &str = r"Examples:
  At the server, behind the proxy that is examined:
    $ h2conn listen 127.0.0.1:7001 --cleartext --doctor --keep-open
  At the client, through the proxy:
    $ h2conn doctor -k https://localhost:7443/
  The same with silences of up to five minutes, for a program to read:
    $ h2conn doctor -k --slow --json https://localhost:7443/";

pub(super) const FORWARD: &str = r"Examples:
  Port 9999 here is port 9999 of the server:
    $ h2conn forward --cacert cert.pem --token-file token -L 9999 \
        server.example:8444
  Port 8080 here is a web server behind the server; port 1080 is a SOCKS5 proxy:
    $ h2conn forward --cacert cert.pem --token-file token \
        -L 8080:web.internal:80 -D 1080 server.example:8444
  Port 9000 of the server is port 8080 here; try again after a break:
    $ h2conn forward --cacert cert.pem --token-file token \
        -R 9000:localhost:8080 --reconnect server.example:8444";

pub(super) const SERVE: &str = r"Examples:
  Make a token:
    $ (umask 077; openssl rand -hex 32 >token)
  Let clients reach port 9999 of this machine, and listen on ports 9000-9099:
    $ h2conn serve server.example:8444 --identity identity.pem \
        --token-file token --allow localhost:9999 \
        --allow-bind 127.0.0.1:9000-9099
  Write the certificate without its key, which clients give to --cacert:
    $ openssl x509 -in identity.pem -out cert.pem
  Offer the files of a folder, and accept new ones:
    $ h2conn serve server.example:8444 --identity identity.pem \
        --token-file token --files files --writable";

pub(super) const SEND: &str = r"Examples:
  Send a file under its own name; continue after a break:
    $ h2conn send --cacert cert.pem --token-file token --reconnect \
        report.pdf server.example:8444/files/
  Send it under another name:
    $ h2conn send --cacert cert.pem --token-file token \
        report.pdf server.example:8444/files/march.pdf";

pub(super) const RECV: &str = r"Examples:
  Receive a file into the current folder; continue after a break:
    $ h2conn recv --cacert cert.pem --token-file token --reconnect \
        server.example:8444/files/report.pdf
  Receive it under another name, and replace what is there:
    $ h2conn recv --cacert cert.pem --token-file token --force \
        server.example:8444/files/report.pdf march.pdf";

pub(super) const COMPLETIONS: &str = r#"Examples:
  Complete command lines in this bash:
    $ eval "$(h2conn completions bash)""#;

pub(super) const MAN: &str = r"Examples:
  Read the page of one command:
    $ h2conn man connect | man -l -
  Write all pages into a folder:
    $ h2conn man --dir man1";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::{BTreeMap, BTreeSet};

    use clap::{CommandFactory, Parser};

    use crate::args::Args;

    /// The command lines of an example text, each in one line.
    fn lines(text: &str) -> Vec<String> {
        let whole = text.replace("\\\n", " ");
        whole.lines().filter_map(|line| Some(line.strip_prefix("    $ ")?.to_owned())).collect()
    }

    /// The words of the `h2conn` in a command line, as a shell gives them; none if there is no `h2conn`.
    fn words(line: &str) -> Vec<String> {
        let Some(at) = line.find("h2conn ") else { return Vec::new() };
        let line = &line[at..];
        let line = &line[..line.find(['|', ')']).unwrap_or(line.len())];
        let mut words = Vec::new();
        for (n, part) in line.split('\'').enumerate() {
            match n % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words.retain(|word| !word.starts_with(['<', '>']));
        words
    }

    #[test]
    fn each_command_has_examples_that_the_command_line_takes() {
        let mut commands = vec![(None, Args::command())];
        for command in Args::command().get_subcommands() {
            commands.push((Some(command.get_name().to_owned()), command.clone()));
        }
        assert_eq!(commands.len(), 11);
        for (name, command) in commands {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = lines(&text);
            let mut own = 0;
            for example in &examples {
                let words = words(example);
                // Windows has no Unix sockets.
                let is_for_unix = words.iter().any(|word| word.contains("unix"));
                if words.is_empty() || cfg!(windows) && is_for_unix {
                    continue;
                }
                own += usize::from(name.as_deref().is_none_or(|name| words[1] == name));
                Args::try_parse_from(&words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
            assert!(own > 0, "{name:?} has no example of itself");
            // A narrower terminal breaks lines, which cannot be copied then.
            let mut lines = text.lines().take_while(|line| *line != "Exit codes:");
            assert_eq!(lines.find(|line| line.chars().count() > 80), None, "{name:?}");
        }
    }

    #[test]
    fn a_short_option_has_the_same_long_name_in_all_commands() {
        let mut meaning = BTreeMap::new();
        let mut command = Args::command();
        command.build();
        for sub in command.get_subcommands() {
            for option in sub.get_arguments() {
                let Some(short) = option.get_short() else { continue };
                let long = option.get_long().unwrap().to_owned();
                let of_all = meaning.entry(short).or_insert_with(|| long.clone());
                assert_eq!(*of_all, long, "-{short} of {}", sub.get_name());
            }
        }
        assert_eq!(meaning[&'k'], "insecure");
        assert_eq!(meaning[&'i'], "idle-timeout");
    }

    #[test]
    fn options_of_a_command_come_first_and_those_of_all_come_under_headings() {
        let mut command = Args::command();
        command.build();
        let listed = |name: &str, heading: Option<&str>| -> Vec<String> {
            let sub = command.find_subcommand(name).unwrap();
            let options = sub.get_arguments().filter(|arg| !arg.is_positional());
            let of_it = options.filter(|arg| arg.get_help_heading() == heading);
            of_it.map(|arg| arg.get_long().unwrap().to_owned()).collect()
        };
        let own = ["linger", "reconnect", "idle-timeout", "stats", "verbose", "help"];
        assert_eq!(listed("connect", None), own);
        assert_eq!(listed("connect", Some("TLS"))[0], "insecure");
        assert_eq!(listed("connect", Some("Request")), ["header", "request"]);
        assert_eq!(listed("connect", Some("Network"))[0], "proxy");
        assert_eq!(listed("listen", None)[..3], ["echo", "exec", "to"]);
        assert_eq!(listed("listen", Some("TLS"))[0], "identity");
        assert_eq!(listed("forward", None)[..3], ["local", "dynamic", "remote"]);
        assert_eq!(listed("serve", None)[0], "allow");
        for sub in command.get_subcommands() {
            let headings: BTreeSet<_> =
                sub.get_arguments().filter_map(|arg| arg.get_help_heading()).collect();
            for heading in headings {
                let known = ["TLS", "Request", "Network", "Limits", "WebSocket"];
                assert!(known.contains(&heading), "{heading}");
            }
        }
    }
}
