//! The client that is not attacked: how long it waits, and how much the victim computes meanwhile.

use std::time::Duration;

use anyhow::ensure;
use h2conn::{Client, Conn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

use crate::support::process::cpu_of;
use crate::support::{TestResult, within};

/// How many echoes a bystander gets before the attack begins, for comparison.
const QUIET: usize = 100;

/// The times of one echo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    pub(super) waited: Duration,
    /// The victim's processor time in the meantime.
    pub(super) worked: Duration,
}

/// The times of a bystander's echoes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// The 99th percentile before the attack, and during it.
    pub(super) quiet: Wait,
    pub(super) mostly: Wait,
    pub(super) worst: Wait,
}

impl Wait {
    /// The times that so many of a hundred echoes do not exceed.
    fn percentile(echoes: &[Wait], percent: usize) -> Wait {
        let of = |time: fn(&Wait) -> Duration| {
            let mut times: Vec<Duration> = echoes.iter().map(time).collect();
            times.sort_unstable();
            times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied()
        };
        let [waited, worked] = [of(|echo| echo.waited), of(|echo| echo.worked)];
        Wait { waited: waited.unwrap_or_default(), worked: worked.unwrap_or_default() }
    }
}

impl Waits {
    fn new(quiet: &[Wait], attacked: &[Wait]) -> Waits {
        Waits {
            quiet: Wait::percentile(quiet, 99),
            mostly: Wait::percentile(attacked, 99),
            worst: Wait::percentile(attacked, 100),
        }
    }

    pub(super) fn print(self) -> String {
        let micros = [self.quiet, self.mostly, self.worst]
            .map(|wait| format!("{} {}", wait.waited.as_micros(), wait.worked.as_micros()));
        micros.join(" ")
    }

    pub(super) fn parse(printed: &str) -> TestResult<Waits> {
        let micros = printed.split(' ').map(|number| number.parse().map(Duration::from_micros));
        let micros = micros.collect::<Result<Vec<_>, _>>()?;
        let wait = |n: usize| Wait { waited: micros[n], worked: micros[n + 1] };
        ensure!(micros.len() == 6, "{printed}");
        Ok(Waits { quiet: wait(0), mostly: wait(2), worst: wait(4) })
    }
}

/// A client that uses an echo again and again, over a link of its own.
#[derive(Clone, Copy)]
pub(super) enum Bystander {
    /// Over one Conn.
    Talks,
    /// Over a new Conn each time.
    Asks,
}

impl Bystander {
    /// Begins, and returns the times once `stopped` is set.
    pub(super) async fn stand(
        self,
        client: Client,
        url: String,
        victim: String,
        mut stopped: watch::Receiver<bool>,
    ) -> TestResult<JoinHandle<TestResult<Waits>>> {
        let (mut conn, _) = client.connect(&url).await?;
        let mut echo = async move || {
            let (start, work) = (Instant::now(), cpu_of(&victim));
            match self {
                Bystander::Talks => turn(&mut conn).await?,
                Bystander::Asks => {
                    let (mut conn, _) = within(60, client.connect(&url)).await?;
                    turn(&mut conn).await?;
                    conn.shutdown().await?;
                    within(60, conn.read_to_end(&mut Vec::new())).await?;
                }
            }
            let worked = cpu_of(&victim).saturating_sub(work);
            TestResult::Ok(Wait { waited: start.elapsed(), worked })
        };
        let mut quiet = Vec::new();
        for _ in 0..QUIET {
            quiet.push(echo().await?);
        }
        Ok(tokio::spawn(async move {
            let (mut attacked, mut beat) = (Vec::new(), interval(Duration::from_millis(2)));
            while !*stopped.borrow_and_update() {
                beat.tick().await;
                attacked.push(echo().await?);
            }
            Ok(Waits::new(&quiet, &attacked))
        }))
    }
}

async fn turn(conn: &mut Conn) -> TestResult {
    conn.write_all(b"still there?").await?;
    let mut heard = [0; 12];
    within(20, conn.read_exact(&mut heard)).await?;
    ensure!(heard == *b"still there?");
    Ok(())
}
