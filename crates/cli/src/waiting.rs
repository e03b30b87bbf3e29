//! Explains long waits to the user.

use std::time::Duration;

use h2conn::Client;
use tokio::time::timeout;

use crate::report::{About, warn};

/// How long a wait may last without an explanation.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for `answer`, which `client` gets from `url`. If that takes long, one line on standard
/// error says what the command waits for, and why. `more` is what the server may wait for before it
/// answers.
///
/// # Cancel safety
///
/// The same as that of `answer`.
pub(crate) async fn explained<T>(
    answer: impl Future<Output = T>,
    client: &Client,
    url: &str,
    more: &str,
) -> T {
    let explain = || {
        let explanation = explanation(client, url, more);
        // One server can delay many requests.
        warn(About::All, "waiting", format_args!("h2conn: {explanation}"));
    };
    patiently(answer, explain).await
}

/// Waits for `answer`, and calls `explain` if that takes long.
async fn patiently<T>(answer: impl Future<Output = T>, explain: impl FnOnce()) -> T {
    tokio::pin!(answer);
    if let Ok(answer) = timeout(PATIENCE, &mut answer).await {
        return answer;
    }
    explain();
    answer.await
}

fn explanation(client: &Client, url: &str, more: &str) -> String {
    let url = without_query(url);
    let seconds = PATIENCE.as_secs();
    let has_link = client.stats().origins.iter().any(|origin| !origin.links.is_empty());
    match has_link {
        false => format!("{url}: no connection after {seconds} s; still trying"),
        true => format!("{url}: no response after {seconds} s; still waiting: {}", why(more)),
    }
}

/// The part of a URL that may be shown. The query can be a secret.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// The possible reasons why no response arrives.
pub(crate) fn why(more: &str) -> String {
    format!(
        "a proxy on the way may hold back the request or the response until it has all of it, or the \
         server may wait for {more} before it answers"
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_explained_once_and_only_when_it_is_long() {
        for (millis, expected) in [(0, 0), (2_900, 0), (3_100, 1), (600_000, 1)] {
            let explained = Cell::new(0);
            let answer = async {
                sleep(Duration::from_millis(millis)).await;
                "answer"
            };
            let answer = patiently(answer, || explained.set(explained.get() + 1)).await;
            assert_eq!((answer, explained.get()), ("answer", expected), "{millis} ms");
        }
    }
}
