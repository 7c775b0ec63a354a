//! Tables and rows for several tenants: together in one database, and each by itself.

use std::fmt::Write as _;

/// Whose rows there are. The last digit makes them easy to tell apart in a failure.
pub(crate) const TENANTS: [&str; 3] = [
    "aaaaaaaa-0000-4000-8000-000000000001",
    "aaaaaaaa-0000-4000-8000-000000000002",
    "bbbbbbbb-0000-4000-8000-000000000003",
];

/// What a database is made of, on either backend.
pub(crate) struct Schema {
    /// With `{tenant}` where the column of the tenant stands.
    pub(crate) tables: &'static str,
    /// Views by name, with what they select.
    pub(crate) views: &'static [(&'static str, &'static str)],
    pub(crate) owned: &'static [&'static str],
    pub(crate) shared: &'static [&'static str],
    /// The rows of the shared tables.
    pub(crate) common: fn() -> Vec<Rows>,
    /// The rows of one of [`TENANTS`].
    pub(crate) own: fn(usize) -> Vec<Rows>,
}

/// Rows of one table, as SQL literals, without the tenant.
pub(crate) struct Rows {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) rows: Vec<String>,
}

impl Rows {
    pub(crate) fn new(table: &'static str, columns: &'static str, rows: Vec<String>) -> Self {
        Self {
            table,
            columns,
            rows,
        }
    }

    /// Returns the statement that stores the rows for a tenant, or as shared ones.
    pub(crate) fn insert(&self, tenant: Option<&str>) -> String {
        let mut sql = format!("insert into {} (", self.table);
        if tenant.is_some() {
            sql.push_str("tenant_id, ");
        }
        let _ = write!(sql, "{}) values ", self.columns);
        for (index, row) in self.rows.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = match tenant {
                Some(tenant) => write!(sql, "{comma}({tenant}, {row})"),
                None => write!(sql, "{comma}({row})"),
            };
        }
        sql
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Returns a number from 0 to `sides - 1`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let index = self.roll(choices.len() as u64);
        choices[usize::try_from(index).unwrap()]
    }

    /// Returns NULL in `percent` of all cases, and else what `value` makes.
    pub(crate) fn or_null(
        &mut self,
        percent: u64,
        value: impl FnOnce(&mut Self) -> String,
    ) -> String {
        if self.roll(100) < percent {
            "null".to_owned()
        } else {
            value(self)
        }
    }
}
