//! Rules as a person reads them.

use std::fmt;

use super::check::{DELETE, action};
use super::rule::{
    AgeBasis, BlobPart, LifecycleActions, LifecycleAge, LifecycleFilter, LifecycleRule,
};

impl fmt::Display for LifecycleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.filter)?;
        if !self.is_enabled {
            f.write_str(" (disabled)")?;
        }
        let parts = BlobPart::ALL.map(|part| (part, self.actions(part)));
        for (number, (part, actions)) in parts
            .into_iter()
            .filter(|(_, actions)| !actions.is_empty())
            .enumerate()
        {
            f.write_str(if number == 0 { ": " } else { "; " })?;
            match part {
                BlobPart::Base => {}
                BlobPart::Version => f.write_str("of versions ")?,
                BlobPart::Snapshot => f.write_str("of snapshots ")?,
            }
            actions.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for LifecycleFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.has_block_blobs, self.has_append_blobs) {
            (true, false) => "block blobs",
            (false, true) => "append blobs",
            (true, true) => "block and append blobs",
            (false, false) => "no blobs",
        })?;
        if !self.prefixes.is_empty() {
            write!(f, " under {}", self.prefixes.join(", "))?;
        }
        for (number, (name, value)) in self.tags.iter().enumerate() {
            f.write_str(if number == 0 { " with " } else { " and " })?;
            write!(f, "{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LifecycleActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = self.tiers.iter().map(|(tier, age)| (action(*tier), age));
        let delete = self.delete.iter().map(|age| (DELETE, age));
        for (number, (action, age)) in tiers.chain(delete).enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{action} {age}")?;
        }
        if self.is_hot_again {
            f.write_str(", hot again when read")?;
        }
        Ok(())
    }
}

impl fmt::Display for LifecycleAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.basis {
            AgeBasis::Creation => "creation",
            AgeBasis::Modification => "modification",
            AgeBasis::LastAccess => "the last access",
        };
        write!(f, "{} days after {from}", self.days)?;
        if let Some(days) = self.since_tier_change {
            write!(f, " and {days} after the last tier change")?;
        }
        Ok(())
    }
}
