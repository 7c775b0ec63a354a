//! What is in the tables: ours, and what belongs to another tenant.

/// Rows of one table.
pub(crate) struct Rows {
    /// The table and its columns.
    pub(crate) into: &'static str,
    pub(crate) values: &'static [&'static str],
}

/// Numbers repeat within and between tables, and NULL is everywhere it may be.
pub(crate) const OUR_ROWS: &[Rows] = &[
    Rows {
        into: "a id, n, parent, edition, t",
        values: &[
            "1, 10, null, 1, 'alpha'",
            "2, 20, 1, 2, '[1, 2]'",
            "3, null, 1, null, null",
            "4, 20, 2, 1, 'alpha'",
        ],
    },
    Rows {
        into: "b id, n, t",
        values: &[
            "1, 10, 'Alpha'",
            "2, 10, 'beta'",
            "4, 3, null",
            "7, null, 'alpha'",
        ],
    },
    Rows {
        into: "c id, n, code",
        values: &["1, 20, 'one'", "3, 10, null", "4, 2, 'four'"],
    },
    Rows {
        into: "customers id, name",
        values: &["1, 'Ada'", "2, 'Bob'", "4, null"],
    },
    Rows {
        into: "invoices id, customer, cents",
        values: &["1, 1, 100", "2, 1, 200", "3, 5, 300", "4, null, null"],
    },
    Rows {
        into: "Odd id, n, x",
        values: &[
            "'1', 10, 0.5",
            "'1', 10, 0.5",
            "null, null, null",
            "'x', 20, 1.25",
        ],
    },
];

/// The same identifiers, and values that ours never have.
pub(crate) const THEIR_ROWS: &[Rows] = &[
    Rows {
        into: "a id, n, parent, edition, t",
        values: &[
            "1, 7700001, null, 1, 'theirs {'",
            "2, 7700002, 3, 2, 'theirs'",
            "3, 7700003, 1, null, 'theirs'",
            "5, 20, 1, 1, 'theirs'",
            "6, null, 5, 1, null",
        ],
    },
    Rows {
        into: "b id, n, t",
        values: &[
            "1, 7700001, 'theirs 1'",
            "2, 10, 'theirs 2'",
            "3, 20, 'theirs'",
            "5, null, 'theirs'",
            "6, null, null",
        ],
    },
    Rows {
        into: "c id, n, code",
        values: &["1, 7700004, 'theirs 1'", "2, 10, 'theirs 2'", "4, 2, null"],
    },
    Rows {
        into: "customers id, name",
        values: &[
            "1, 'theirs 1'",
            "2, 'theirs 2'",
            "3, 'theirs 3'",
            "5, 'theirs 5'",
        ],
    },
    Rows {
        into: "invoices id, customer, cents",
        values: &[
            "1, 1, 7700001",
            "2, 3, 7700002",
            "5, 2, 100",
            "6, null, null",
        ],
    },
    Rows {
        into: "Odd id, n, x",
        values: &[
            "'1', 10, 0.5",
            "'2', 7700001, 7700001.5",
            "'theirs', 20, null",
        ],
    },
];

impl Rows {
    /// Returns the table, as a statement names it, and its columns.
    pub(crate) fn table(&self) -> (String, &'static str) {
        let (table, columns) = self.into.split_once(' ').unwrap_or((self.into, ""));
        (table.replace("Odd", "\"Odd \"\"Name\""), columns)
    }
}
