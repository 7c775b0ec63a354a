//! How everything is, as text and as JSON: by hand, for a dozen lines need no serializer.

use std::fmt::{self, Write as _};

use super::{Health, PartHealth};

impl Health {
    /// Writes it as a JSON object: `ready`, `alive` and `parts`, each of which has `part`, `name`, `system`,
    /// `millis`, `ok`, and where it is not, `kind` and `error`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (ready, alive) = (self.is_ready(), self.is_alive());
        let parts: Vec<_> = self.parts.iter().map(PartHealth::to_json).collect();
        let parts = parts.join(",");
        format!(r#"{{"ready":{ready},"alive":{alive},"parts":[{parts}]}}"#)
    }
}

impl PartHealth {
    fn to_json(&self) -> String {
        let trouble = self.error.as_ref().map_or_else(String::new, |error| {
            let (kind, text) = (error.kind(), quoted(&error.to_string()));
            format!(r#","kind":"{kind}","error":{text}"#)
        });
        format!(
            r#"{{"part":"{}","name":{},"system":{},"millis":{:.3},"ok":{}{trouble}}}"#,
            self.part,
            quoted(&self.name),
            quoted(self.system),
            self.took.as_secs_f64() * 1_000.0,
            self.error.is_none(),
        )
    }
}

/// Writes a text as JSON does.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for one in text.chars() {
        match one {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(one);
            }
            // To a text, it does not fail.
            _ if one.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(one))),
            _ => quoted.push(one),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_ready(), self.is_healthy()) {
            _ if self.is_closed => "closed",
            (true, true) => "ready",
            (true, false) => "ready, and not all of it answers",
            (false, _) => "not ready",
        };
        f.write_str(state)?;
        for part in &self.parts {
            write!(f, "\n{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PartHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        let millis = self.took.as_secs_f64() * 1_000.0;
        write!(f, " ({}) {millis:.1} ms: ", self.system)?;
        match &self.error {
            None => f.write_str("ok"),
            Some(error) => write!(f, "{error}"),
        }
    }
}
