//! What the audit of a database tells, whichever backend it looks at.

use std::fmt;

use serde::Serialize;

/// What an audit has found, and what it learnt of the database on the way.
///
/// # Examples
///
/// ```no_run
/// use tenantry_store::Severity;
/// use tenantry_store::postgres::{Role, audit};
///
/// # async fn example(url: &str) -> tenantry_store::Result<()> {
/// let report = audit(url, Role::App).await?;
/// for finding in report.findings() {
///     println!("{} {}: {}", finding.code, finding.object, finding.problem);
///     println!("    {}", finding.fix);
/// }
/// assert!(!report.has(Severity::Error), "a tenant could reach the rows of another");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditReport<F> {
    facts: F,
    findings: Vec<Finding>,
}

impl<F> AuditReport<F> {
    /// Sorts the findings, the gravest first, then by code and object.
    pub(crate) fn new(facts: F, mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self { facts, findings }
    }

    /// Returns what was found, the gravest first, then by code and object.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns what is known of the database.
    #[must_use]
    pub const fn facts(&self) -> &F {
        &self.facts
    }

    /// Returns whether nothing was found, not even a warning.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns whether there is a finding of this severity.
    #[must_use]
    pub fn has(&self, severity: Severity) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == severity)
    }

    /// Returns what is known of the database, and what was found.
    #[must_use]
    pub fn into_parts(self) -> (F, Vec<Finding>) {
        (self.facts, self.findings)
    }
}

/// One way round the wall, or one step towards it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What kind it is, such as `TN051`: the page on the audit lists all of them.
    pub code: String,
    /// The table, role, function or connection that it is about.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// What mends it.
    pub fix: Fix,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        code: impl Into<String>,
        object: impl Into<String>,
        problem: impl Into<String>,
        fix: Fix,
    ) -> Self {
        Self {
            severity,
            code: code.into(),
            object: object.into(),
            problem: problem.into(),
            fix,
        }
    }
}

/// How grave a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Rows of one tenant can be reached for another, now or by the next statement.
    Error,
    /// Nothing is open by itself: the next change would open it, or tenants learn of each other how
    /// many rows they write.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// What mends a [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "by", content = "text", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fix {
    /// Statements for the owner of the tables, in one transaction: a migration.
    Owner(String),
    /// Statements for an administrator of the database.
    Administrator(String),
    /// Words: somebody has to decide, or it is nothing that SQL can do.
    Advice(String),
}

impl Fix {
    /// Returns the statements, or `None` if it is advice.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        match self {
            Self::Owner(sql) | Self::Administrator(sql) => Some(sql),
            Self::Advice(_) => None,
        }
    }

    /// Returns the statements or the advice.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Owner(text) | Self::Administrator(text) | Self::Advice(text) => text,
        }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, code: &str, object: &str) -> Finding {
        Finding::new(severity, code, object, "p", Fix::Owner("f".to_owned()))
    }

    #[test]
    fn the_gravest_comes_first_and_each_once() {
        let report = AuditReport::new(
            (),
            vec![
                finding(Severity::Warning, "TN001", "a"),
                finding(Severity::Error, "TN009", "b"),
                finding(Severity::Error, "TN009", "a"),
                finding(Severity::Error, "TN009", "a"),
            ],
        );
        let order: Vec<_> = report
            .findings()
            .iter()
            .map(|finding| (&*finding.code, &*finding.object))
            .collect();
        assert_eq!(order, [("TN009", "a"), ("TN009", "b"), ("TN001", "a")]);
        assert!(report.has(Severity::Warning) && !report.is_clean());
    }

    #[test]
    fn what_is_written_for_programs() {
        let json = serde_json::to_value(finding(Severity::Error, "TN051", "public.t")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "severity": "error", "code": "TN051", "object": "public.t", "problem": "p",
                "fix": { "by": "owner", "text": "f" },
            })
        );
    }
}
