//! What goes wrong on purpose, when, and for whom.

use std::time::Duration;

/// Something that goes wrong with a request.
///
/// Hand it to [`KeyVaultServer::inject`](super::KeyVaultServer::inject) as it is, to meet every
/// request until it is lifted, or as [`times`](Self::times).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The vault is called too often: 429, with or without `Retry-After`, which counts in whole
    /// seconds, rounded up. Meets requests with a token that is taken.
    Throttle {
        /// How long the client is asked to wait.
        retry_after: Option<Duration>,
    },
    /// The token is refused though it is good, as when access was withdrawn in mid-life: 401 with
    /// a challenge that asks for other claims. Meets requests with a token that is taken.
    Unauthorized,
    /// The caller may not: 403. Meets requests with a token that is taken.
    Forbidden(Denial),
    /// The challenge names another resource: a client must refuse it, and send no token. Meets
    /// requests without a token that is taken.
    WrongChallenge {
        /// What the client shall get a token for, such as `https://vault.example.com`.
        resource: String,
    },
    /// The answer is late.
    Slow {
        /// How late.
        delay: Duration,
        /// Where the time passes.
        moment: Moment,
    },
    /// The connection is closed. What was asked for is done if a part of the answer has come, and
    /// not done otherwise.
    Cut(Moment),
    /// The answer has this status, which should be one of an error, and nothing is done.
    Status(u16),
}

/// Where in an answer something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Moment {
    /// Before the first byte.
    BeforeAnswer,
    /// In the middle of the body, when the client has the status, the headers and half of it.
    InBody,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Denial {
    /// No role of the caller allows it (`ForbiddenByRbac`).
    Role,
    /// The vault's access policies do not name the caller (`AccessDenied`).
    AccessPolicy,
    /// The vault's firewall does not let the caller's address in (`ForbiddenByFirewall`).
    Firewall,
}

/// A [`Fault`], the requests that it meets, and how many of them.
///
/// A request meets one rule: the first injected of those that are for it.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    left: Option<usize>,
    vault: Option<String>,
    secret: Option<String>,
    is_after_challenge: bool,
}

impl Fault {
    /// Meets the next `count` requests that it is for.
    #[must_use]
    pub fn times(self, count: usize) -> FaultRule {
        FaultRule {
            left: Some(count),
            ..self.into()
        }
    }
}

impl FaultRule {
    /// Meets requests to this vault alone.
    #[must_use]
    pub fn on_vault(mut self, vault: impl Into<String>) -> Self {
        self.vault = Some(vault.into());
        self
    }

    /// Meets requests about the secret of this name alone, deleted or not.
    #[must_use]
    pub fn on_secret(mut self, name: impl Into<String>) -> Self {
        self.secret = Some(name.into());
        self
    }

    /// Meets requests with a token that is taken alone, so that a client's first request is
    /// challenged as ever.
    #[must_use]
    pub const fn after_challenge(mut self) -> Self {
        self.is_after_challenge = true;
        self
    }

    fn is_for(&self, request: &Meeting<'_>) -> bool {
        let is_same = |wanted: &Option<String>, met: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| met.is_some_and(|met| wanted.eq_ignore_ascii_case(met)))
        };
        let is_met = match &self.fault {
            Fault::WrongChallenge { .. } => !request.is_authorized,
            Fault::Throttle { .. } | Fault::Unauthorized | Fault::Forbidden(_) => {
                request.is_authorized
            }
            Fault::Slow { .. } | Fault::Cut(_) | Fault::Status(_) => {
                request.is_authorized || !self.is_after_challenge
            }
        };
        is_met && is_same(&self.vault, Some(request.vault)) && is_same(&self.secret, request.secret)
    }
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            left: None,
            vault: None,
            secret: None,
            is_after_challenge: false,
        }
    }
}

/// What a rule looks at.
pub(super) struct Meeting<'a> {
    pub(super) vault: &'a str,
    pub(super) secret: Option<&'a str>,
    /// It carries a token that is taken.
    pub(super) is_authorized: bool,
}

/// The rules, in the order in which they were injected.
#[derive(Default)]
pub(super) struct FaultScript {
    rules: Vec<FaultRule>,
}

impl FaultScript {
    pub(super) fn inject(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn lift(&mut self) {
        self.rules.clear();
    }

    /// Returns what goes wrong with a request, which uses it up by one.
    pub(super) fn meet(&mut self, request: &Meeting<'_>) -> Option<Fault> {
        self.rules.retain(|rule| rule.left != Some(0));
        let rule = self.rules.iter_mut().find(|rule| rule.is_for(request))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    /// Returns whether a rule for some number of requests has not met all of them.
    pub(super) fn is_armed(&self) -> bool {
        self.rules.iter().any(|rule| rule.left > Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLE: Fault = Fault::Throttle { retry_after: None };

    const fn get(vault: &str) -> Meeting<'_> {
        Meeting {
            vault,
            secret: Some("db"),
            is_authorized: true,
        }
    }

    #[test]
    fn rules_come_one_after_another() {
        let mut script = FaultScript::default();
        script.inject(THROTTLE.times(2));
        script.inject(Fault::Unauthorized.times(1));
        let met: Vec<_> = (0..4).map(|_| script.meet(&get("orders"))).collect();
        assert_eq!(
            met,
            [
                Some(THROTTLE),
                Some(THROTTLE),
                Some(Fault::Unauthorized),
                None
            ]
        );
        assert!(!script.is_armed());
    }

    #[test]
    fn a_rule_for_another_vault_or_secret_waits() {
        let mut script = FaultScript::default();
        script.inject(THROTTLE.times(1).on_vault("Billing"));
        script.inject(Fault::Status(500).times(1).on_secret("mail"));
        assert_eq!(script.meet(&get("orders")), None);
        assert!(script.is_armed());
        assert_eq!(script.meet(&get("billing")), Some(THROTTLE));
    }

    #[test]
    fn a_fault_without_a_number_lasts_until_it_is_lifted() {
        let mut script = FaultScript::default();
        script.inject(THROTTLE.into());
        assert!((0..100).all(|_| script.meet(&get("orders")).is_some()));
        assert!(!script.is_armed());
        script.lift();
        assert_eq!(script.meet(&get("orders")), None);
    }

    #[test]
    fn only_a_wrong_challenge_and_the_network_meet_a_request_without_a_token() {
        let mut script = FaultScript::default();
        let first = Meeting {
            is_authorized: false,
            ..get("orders")
        };
        script.inject(THROTTLE.into());
        script.inject(FaultRule::from(Fault::Status(503)).after_challenge());
        assert_eq!(script.meet(&first), None);
        script.inject(Fault::Cut(Moment::BeforeAnswer).into());
        assert_eq!(script.meet(&first), Some(Fault::Cut(Moment::BeforeAnswer)));
    }
}
