use super::Cursor;

/// One page of a list.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::Query;
///
/// let invoices = tenant.repository::<Invoice>();
/// invoices.insert_many(&mut [invoice("Ada", 12_000), invoice("Zoë", 500)]).await?;
///
/// let query = Query::new().sort(Invoice::CUSTOMER.asc()).limit(1);
/// let first = invoices.list(query.clone()).await?;
/// assert_eq!(first.items[0].customer, "Ada");
/// let next = first.next.expect("one more").to_string();       // to the client, and back
///
/// let last = invoices.list(query.cursor(next)).await?;
/// assert_eq!(last.items[0].customer, "Zoë");
/// assert!(last.next.is_none() && last.previous.is_some());
#[doc = include_str!("../examples/close.md")]
/// ```
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
    /// Returns a page of these rows: what a wrapper that keeps pages gives out.
    #[must_use]
    pub const fn new(items: Vec<A>, next: Option<Cursor>, previous: Option<Cursor>) -> Self {
        Self {
            items,
            next,
            previous,
        }
    }
}
