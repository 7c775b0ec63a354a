//! Which stores a service has, by the storage map of `core`.

use tenantry_core::{Service, Store};
use tenantry_store::{Error, ErrorKind, Result};

/// Returns whether a service has a store; one that does not say which it is has all.
pub(super) fn owns(service: Option<Service>, store: Store) -> bool {
    service.is_none_or(|service| store.descriptor().owners.include(service))
}

/// Refuses the store of another service.
pub(super) fn check(service: Option<Service>, store: Store) -> Result<()> {
    match service {
        Some(service) if !owns(Some(service), store) => {
            let owners = store.descriptor().owners;
            Err(Error::new(ErrorKind::PermissionDenied, "open store")
                .with_subject(store.as_str())
                .with_detail(format!(
                    "it is not a store of the service {service}: its owners are {owners}"
                )))
        }
        _ => Ok(()),
    }
}

/// Says what to add for a store that the settings do not name.
pub(super) fn missing(what: &'static str, add: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, "open store")
        .with_subject(what)
        .with_detail(add)
}

/// Returns whether a store has blobs.
#[cfg(feature = "blob")]
pub(super) fn has_blobs(store: Store) -> bool {
    use tenantry_core::BackendKind;

    matches!(
        store.descriptor().backend,
        BackendKind::Blob | BackendKind::ImmutableBlob | BackendKind::SqlAndBlob
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_store_service_and_owners() {
        let error = check(Some(Service::Notification), Store::ReportArtifacts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(
            error.to_string(),
            "open store report_artifacts: permission denied: it is not a store of the service \
             notification: its owners are reporting"
        );
        let error = check(Some(Service::Reporting), Store::Cache).unwrap_err();
        assert!(
            error.detail().ends_with("gateway, configuration, identity"),
            "{error}"
        );
    }

    #[test]
    fn each_service_has_what_the_map_says_and_no_more() {
        for service in Service::ALL {
            for store in Store::ALL {
                let is_in_map = service.stores().any(|row| row.store == *store);
                assert_eq!(check(Some(*service), *store).is_ok(), is_in_map);
            }
        }
        assert!(Store::ALL.iter().all(|store| check(None, *store).is_ok()));
    }
}
