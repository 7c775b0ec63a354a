use std::collections::BTreeSet;
use std::fmt::Display;

use super::*;

#[test]
fn each_store_has_its_row_in_order() {
    assert_eq!(STORAGE_MAP.len(), Store::ALL.len());
    for (row, store) in STORAGE_MAP.iter().zip(Store::ALL) {
        assert_eq!(row.store, *store);
        assert_eq!(store.descriptor(), row);
    }
}

#[test]
fn names_are_unique_and_read_back() {
    let names: BTreeSet<_> = Store::ALL.iter().map(|store| store.as_str()).collect();
    assert_eq!(names.len(), 17);
    let names: BTreeSet<_> = Service::ALL
        .iter()
        .map(|service| service.as_str())
        .collect();
    assert_eq!(names.len(), 11);

    for store in Store::ALL {
        assert_eq!(store.to_string().parse::<Store>().unwrap(), *store);
    }
    for service in Service::ALL {
        assert_eq!(service.to_string().parse::<Service>().unwrap(), *service);
    }
    assert!("Outbox".parse::<Store>().is_err());
    assert!("".parse::<Service>().is_err());
}

#[test]
fn every_service_reads_secrets_and_none_writes_them() {
    let secrets = Store::Secrets.descriptor().owners;
    assert!(Service::ALL.iter().all(|&service| secrets.include(service)));
    assert!(
        !Service::ALL
            .iter()
            .any(|&service| secrets.may_write(service))
    );
}

#[test]
fn every_service_has_a_store_of_its_own() {
    for service in Service::ALL {
        let own = service
            .stores()
            .filter(|row| matches!(row.owners, Owners::Services(_) | Owners::EachDomainService));
        assert_ne!(own.count(), 0, "{service}");
    }
}

#[test]
fn map_is_the_reviewed_table() {
    let mut table = line("store", "backend", "owners", "access", "retention", "notes");
    for row in STORAGE_MAP {
        let StoreDescriptor {
            store,
            backend,
            owners,
            access,
            retention,
            notes,
        } = row;
        table += &line(store, backend, owners, access, retention.to_string(), notes);
    }
    let expected = include_str!("../../tests/expected/storage_map.txt");
    assert!(
        table == expected,
        "tests/expected/storage_map.txt differs; the map is now\n{table}"
    );
}

fn line(
    store: impl Display,
    backend: impl Display,
    owners: impl Display,
    access: impl Display,
    retention: impl Display,
    notes: impl Display,
) -> String {
    let line = format!("{store:<25}{backend:<17}{owners:<34}{access:<26}{retention:<29}{notes}");
    format!("{}\n", line.trim_end())
}
