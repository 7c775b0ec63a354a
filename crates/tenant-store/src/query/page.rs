use super::Cursor;

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page<A> {
    /// The rows, in the order of the query; also when the page was reached backwards.
    pub items: Vec<A>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
    /// Where the page before ends; `None` on the first page.
    pub previous: Option<Cursor>,
}

impl<A> Page<A> {
    pub(crate) const fn new(items: Vec<A>, next: Option<Cursor>, previous: Option<Cursor>) -> Self {
        Self {
            items,
            next,
            previous,
        }
    }
}
