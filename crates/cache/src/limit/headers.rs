//! What a client is told of its limits.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Decision, Limit};

/// The largest integer of a structured field
/// (<https://www.rfc-editor.org/rfc/rfc9651#section-3.3.1>).
const LARGEST: u64 = 999_999_999_999_999;

impl Decision {
    /// Returns the header fields that tell a client of its limits: `RateLimit-Policy` and `RateLimit`, and
    /// `Retry-After` where the request is refused.
    ///
    /// The first two are those of
    /// [draft-ietf-httpapi-ratelimit-headers](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/),
    /// with an item for each limit by the name of its rule; times are in whole seconds, rounded up. Where
    /// nothing could be counted, only the policy is told.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use tenantry_cache::{MemoryLimits, RateLimiter, Rule};
    /// use tenantry_core::TenantId;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
    /// let rule = Rule::new("route", 100, Duration::from_secs(60))?;
    /// let limits = [rule.limit("POST /invoices")];
    /// let decision = limiter.tenant(TenantId::generate()).take(&limits, 1).await?;
    /// assert_eq!(
    ///     decision.headers(&limits),
    ///     [
    ///         ("ratelimit-policy", r#""route";q=100;w=60"#.to_owned()),
    ///         ("ratelimit", r#""route";r=99;t=60"#.to_owned()),
    ///     ]
    /// );
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn headers(&self, limits: &[Limit<'_>]) -> Vec<(&'static str, String)> {
        let (mut policy, mut standing) = (String::new(), String::new());
        for (index, limit) in limits.iter().enumerate() {
            let rule = limit.rule();
            let (most, window) = (rule.most().min(LARGEST), seconds(rule.window()));
            push_item(&mut policy, rule.name());
            // To a text, it does not fail.
            let _ = write!(policy, ";q={most};w={window}");
            if let Some(left) = self.standings().get(index) {
                let (remaining, reset) = (left.remaining.min(LARGEST), seconds(left.reset_after));
                push_item(&mut standing, rule.name());
                let _ = write!(standing, ";r={remaining};t={reset}");
            }
        }
        let mut headers = vec![("ratelimit-policy", policy)];
        if !standing.is_empty() {
            headers.push(("ratelimit", standing));
        }
        if let Some(wait) = self.retry_after() {
            headers.push(("retry-after", seconds(wait).to_string()));
        }
        headers
    }
}

/// Adds an item that is a string, of which a structured field allows printable ASCII; other bytes are
/// percent-encoded.
fn push_item(list: &mut String, name: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => list.extend(['\\', char::from(byte)]),
            b' '..=b'~' => list.push(char::from(byte)),
            _ => {
                let _ = write!(list, "%{byte:02X}");
            }
        }
    }
    list.push('"');
}

/// Returns a time in whole seconds, no shorter than it is.
fn seconds(time: Duration) -> u64 {
    let more = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(more).min(LARGEST)
}

#[cfg(test)]
mod tests {
    use tenantry_core::{Error, ErrorKind};

    use super::*;
    use crate::{Rule, Standing};

    fn rule(name: &str, most: u64, window: u64) -> Rule {
        Rule::new(name, most, Duration::from_millis(window)).unwrap()
    }

    #[test]
    fn each_limit_has_an_item_and_a_refusal_its_wait() {
        let rules = [
            rule("tenant", 1_000, 60_000),
            rule("a \"b\" \\ ü", 2, 1_500),
        ];
        let limits = [rules[0].limit(""), rules[1].limit("GET /")];
        let standing = |remaining, retry_after, reset_after| Standing {
            most: 0,
            remaining,
            retry_after: Duration::from_millis(retry_after),
            reset_after: Duration::from_millis(reset_after),
        };
        let standings = vec![standing(7, 0, 59_001), standing(0, 1_001, 1_500)];
        let refused = Decision::new(false, standings);
        let policy = r#""tenant";q=1000;w=60, "a \"b\" \\ %C3%BC";q=2;w=2"#;
        assert_eq!(
            refused.headers(&limits),
            [
                ("ratelimit-policy", policy.to_owned()),
                (
                    "ratelimit",
                    r#""tenant";r=7;t=60, "a \"b\" \\ %C3%BC";r=0;t=2"#.to_owned()
                ),
                ("retry-after", "2".to_owned()),
            ]
        );
        let uncounted = Decision::uncounted(true, Error::new(ErrorKind::Unavailable, "count"));
        assert_eq!(
            uncounted.headers(&limits),
            [("ratelimit-policy", policy.to_owned())]
        );
    }

    #[test]
    fn numbers_are_those_that_a_field_takes() {
        let rules = [rule("huge", u64::MAX, 1)];
        let limits = [rules[0].limit("")];
        let decision = Decision::new(true, Vec::new());
        assert_eq!(
            decision.headers(&limits)[0].1,
            r#""huge";q=999999999999999;w=1"#
        );
    }
}
