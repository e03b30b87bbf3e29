//! The message of a command that failed, and the exit code that tells scripts why.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use h2conn::{Backoff, ErrorKind};

use crate::report::{say_last, shown, without_passwords};
use crate::transfer::patience::Idle;

/// The result of every operation that can end the program.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The exit codes. 0 is a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The command line asks for something that cannot be done.
    Usage = 1,
    /// No connection: the network, the address, or a peer that does not speak HTTP/2.
    Connect = 2,
    /// TLS, certificates above all.
    Tls = 3,
    /// The server answered with a status that is not 2xx.
    Status = 4,
    /// The connection was reset, or broke off.
    Reset = 5,
    /// A time limit passed.
    TimedOut = 6,
    /// This machine's part: files, standard input and output, a command that failed.
    Local = 7,
    /// `doctor` has found that the way does not keep all promises.
    Found = 8,
    /// Ctrl-C or SIGTERM: twice, or before the connection had ended or the file was whole. The
    /// number is the one that shells give to SIGINT.
    Interrupted = 130,
}

impl Code {
    /// The kind of failure, under which failures that are not shown are counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::Connect => "connect",
            Code::Tls => "tls",
            Code::Status => "status",
            Code::Reset => "reset",
            Code::TimedOut => "timed out",
            Code::Local => "local",
            Code::Found => "found",
            Code::Interrupted => "interrupted",
        }
    }

    /// Advice in terms of the command line. The library's errors know only the library's terms.
    fn hint(self) -> Option<&'static str> {
        match self {
            Code::Tls => Some(
                "--cacert FILE trusts the certificates in it, --fingerprint SHA256 one certificate, -k \
                 any; --cert and --key show one of this side",
            ),
            _ => None,
        }
    }
}

/// The table of exit codes at the end of the help text.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    the connection ended as it should
  1    the command line or a file that it names cannot be used
  2    no connection, or the peer does not speak HTTP/2
  3    TLS failed, for instance because a certificate is not trusted
  4    the server answered with a status that is not 2xx
  5    the connection was reset, or broke off
  6    a time limit passed
  7    something failed on this side: standard input or output, a file that is not what was sent, a
       command
  8    doctor has found faults
  130  Ctrl-C (or SIGTERM) before the connection had ended or the file was whole, or twice; a
       command that serves many connections ends with 0";

/// Why the program ends with an exit code that is not 0.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    error: anyhow::Error,
    /// The reader of the output has gone. That is the reader's choice, so it is no failure.
    is_lost_reader: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, error: impl Into<anyhow::Error>) -> Failure {
        Failure { code, error: error.into(), is_lost_reader: false }
    }

    /// The command line asks for something that cannot be done, and `message` says why.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Code::Usage, anyhow::anyhow!("{message}"))
    }

    /// The command line asks for something that cannot be done, and `error` says why.
    pub(crate) fn by_usage(error: anyhow::Error) -> Failure {
        Failure::new(Code::Usage, error)
    }

    /// Something failed on this machine while `what` was done.
    pub(crate) fn local(what: impl fmt::Display, error: io::Error) -> Failure {
        Failure::new(Code::Local, anyhow::Error::new(error).context(what.to_string()))
    }

    /// Standard output takes no more. If its reader has gone, nothing is reported.
    pub(crate) fn output(error: io::Error) -> Failure {
        let is_lost_reader = error.kind() == io::ErrorKind::BrokenPipe;
        Failure { is_lost_reader, ..Failure::local("cannot write to standard output", error) }
    }

    /// The user did not wait for a connection, for its end, or for a file.
    pub(crate) fn interrupted() -> Failure {
        Failure::new(Code::Interrupted, anyhow::anyhow!("interrupted"))
    }

    /// The failure behind an I/O error of a connection. An error that the library did not make is
    /// this side's.
    pub(crate) fn of_io(what: impl fmt::Display, error: io::Error) -> Failure {
        match h2conn::Error::from_io(&error) {
            Some(error) => error.clone().into(),
            None => Failure::local(what, error),
        }
    }

    /// Whether another attempt can succeed without any change on this side.
    pub(crate) fn may_pass(&self) -> bool {
        match self.code {
            Code::Usage | Code::Local | Code::Found | Code::Interrupted => false,
            Code::Connect | Code::Tls | Code::Status | Code::Reset | Code::TimedOut => {
                !self.library_error().is_some_and(h2conn::Error::is_permanent)
            }
        }
    }

    /// The pause before the next attempt, which the server may have asked for.
    pub(crate) fn pause(&self, backoff: &mut Backoff) -> Duration {
        let asked = self.library_error().and_then(|error| backoff.after(error));
        asked.unwrap_or_else(|| backoff.pause())
    }

    /// The same failure, with a description of the operation that failed.
    pub(crate) fn context(self, what: impl fmt::Display) -> Failure {
        Failure { error: self.error.context(what.to_string()), ..self }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The library's error, if it was one.
    pub(crate) fn library_error(&self) -> Option<&h2conn::Error> {
        self.error.downcast_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.error))
    }
}

/// An error that contains the library's error keeps its exit code. All other errors are this
/// side's.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let code = match of_library(&error) {
            Some(error) => Failure::from(error.clone()).code,
            None if error.is::<Idle>() => Code::TimedOut,
            None => Code::Local,
        };
        Failure::new(code, error)
    }
}

impl From<h2conn::Error> for Failure {
    fn from(error: h2conn::Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::InvalidInput => Code::Usage,
            ErrorKind::Connect | ErrorKind::Unsupported | ErrorKind::Refused => Code::Connect,
            ErrorKind::Tls => Code::Tls,
            ErrorKind::Rejected => Code::Status,
            ErrorKind::TimedOut => Code::TimedOut,
            // Reset, truncated, closed, aborted, a broken protocol, and kinds that may be added
            // later.
            _ => Code::Reset,
        };
        Failure::new(code, error)
    }
}

/// The library's error that caused this one, if there is one.
pub(crate) fn of_library(error: &anyhow::Error) -> Option<&h2conn::Error> {
    error.chain().find_map(|cause| {
        let inside = cause.downcast_ref::<io::Error>().and_then(h2conn::Error::from_io);
        inside.or_else(|| cause.downcast_ref::<h2conn::Error>())
    })
}

/// Prints the failure, and gives the exit code.
pub(crate) fn code_of(result: Result) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_lost_reader => ExitCode::SUCCESS,
        Err(failure) => {
            say_last(format_args!("h2conn: {failure}"));
            if let Some(hint) = failure.code.hint() {
                say_last(format_args!("h2conn: {hint}"));
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Prints clap's answer: help, the version, or an error in the command line.
pub(crate) fn usage(answer: &clap::Error) -> ExitCode {
    let text = answer.to_string();
    let is_shown_in_colours = io::stderr().is_terminal() && without_passwords(&text) == text;
    match answer.use_stderr() && !is_shown_in_colours {
        true => text.lines().for_each(say_last),
        // Help contains no password, and is data.
        false => drop(answer.print()),
    }
    match answer.use_stderr() {
        true => ExitCode::from(Code::Usage as u8),
        false => ExitCode::SUCCESS,
    }
}
