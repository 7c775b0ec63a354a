//! Which table belongs to which store of the storage map.

use tenantry_core::{BackendKind, Service, Store, StoreDescriptor};

/// Reads `TABLE=STORE`.
pub(crate) fn table_of_store(text: &str) -> Result<(String, Store), String> {
    let Some((table, store)) = text.split_once('=') else {
        return Err("write it as invoices=domain_data".to_owned());
    };
    let found = Store::ALL.iter().find(|it| it.as_str() == store);
    match (found, table) {
        (None, _) => Err(format!(
            "no store is called {store}: `tenantry map` lists them"
        )),
        (Some(_), "") => Err("say which table: invoices=domain_data".to_owned()),
        (Some(store), table) => Ok((table.to_owned(), *store)),
    }
}

/// Returns the store that a table belongs to: as it was said; by its name, where Tenantry has made it; and
/// otherwise where the service has one store of tables alone.
pub(crate) fn store_of(
    table: &str,
    said: &[(String, Store)],
    service: Option<Service>,
) -> Option<Store> {
    if let Some((_, store)) = said.iter().find(|(name, _)| name == table) {
        return Some(*store);
    }
    if table.starts_with("outbox_") {
        return Some(Store::Outbox);
    }
    let service = service?;
    let is_wanted: fn(BackendKind) -> bool = match table {
        "artifacts" => |backend| matches!(backend, BackendKind::Blob | BackendKind::ImmutableBlob),
        _ => |backend| {
            matches!(
                backend,
                BackendKind::Sql | BackendKind::AppendOnlySql | BackendKind::SqlAndBlob
            )
        },
    };
    let is_own = |it: &&StoreDescriptor| it.owners.may_write(service) && is_wanted(it.backend);
    let mut own = service.stores().filter(is_own);
    match (own.next(), own.next()) {
        (Some(one), None) => Some(one.store),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_where_it_was_said_to_be_or_where_it_can_only_be() {
        let said = [("exports".to_owned(), Store::ReportArtifacts)];
        let reporting = Some(Service::Reporting);
        for (table, service, store) in [
            ("exports", reporting, Some(Store::ReportArtifacts)),
            ("outbox_messages", None, Some(Store::Outbox)),
            ("runs", reporting, Some(Store::Reports)),
            ("artifacts", reporting, Some(Store::ReportArtifacts)),
            ("invoices", Some(Service::Domain), Some(Store::DomainData)),
            ("invoices", None, None),
            ("invoices", Some(Service::Gateway), None),
        ] {
            assert_eq!(store_of(table, &said, service), store, "{table}");
        }
    }

    #[test]
    fn what_is_no_store_is_refused_by_name() {
        assert_eq!(
            table_of_store("invoices=domain_data"),
            Ok(("invoices".to_owned(), Store::DomainData))
        );
        for wrong in ["invoices", "=domain_data", "invoices=nowhere"] {
            assert!(table_of_store(wrong).is_err(), "{wrong}");
        }
    }
}
