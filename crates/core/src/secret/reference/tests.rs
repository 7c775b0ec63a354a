use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ErrorKind;

const VERSION: &str = "0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> SecretReference {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn every_form_prints_as_it_was_written() {
    for (text, scheme) in [
        ("kv://abc/n", SecretScheme::KeyVault),
        (
            &*format!("kv://billing-prod/DB-Password/{VERSION}"),
            SecretScheme::KeyVault,
        ),
        ("file:secrets.json#db.password", SecretScheme::File),
        ("file:/run/secrets/db-password", SecretScheme::File),
        ("file:C:\\secrets\\db password.txt", SecretScheme::File),
        ("env:DB_PASSWORD", SecretScheme::Env),
        ("env:_x1", SecretScheme::Env),
    ] {
        let reference = parse(text);
        assert_eq!(
            (reference.to_string().as_str(), reference.scheme()),
            (text, scheme)
        );
        assert_eq!(format!("{reference:?}"), format!("SecretReference({text})"));
        assert_eq!(serde_json::to_value(&reference).unwrap(), json!(text));
        assert_eq!(
            serde_json::from_value::<SecretReference>(json!(text)).unwrap(),
            reference
        );
    }
}

#[test]
fn identifier_of_azure_is_the_same_reference() {
    let upper = VERSION.to_uppercase();
    for (azure, ours) in [
        (
            "https://abc.vault.azure.net/secrets/n",
            "kv://abc/n".to_owned(),
        ),
        (
            "https://A-b.vault.azure.net/secrets/N",
            "kv://a-b/N".to_owned(),
        ),
        (
            &*format!("https://abc.vault.azure.net/secrets/n/{upper}"),
            format!("kv://abc/n/{VERSION}"),
        ),
    ] {
        assert_eq!(parse(azure), parse(&ours));
        assert_eq!(parse(azure).to_string(), ours);
    }
}

#[test]
fn everything_else_is_refused_without_repeating_it() {
    let marker = "hunter2";
    for text in [
        "",
        "hunter2",
        "HUNTER2:x",
        "kv://hunter2",
        "kv:///hunter2",
        "kv://hunter2/",
        "kv:hunter2/n",
        "KV://hunter2/n",
        " kv://hunter2/n",
        "kv://hunter2/n\n",
        "kv://ab/hunter2",
        "kv://1hunter2/n",
        "kv://hunter2-/n",
        "kv://hunter2--x/n",
        "kv://hunter2.x/n",
        "kv://user:hunter2@abc/n",
        "kv://hunter2/n?x=1",
        "kv://hunter2/n#x",
        "kv://hunter2/a_b",
        "kv://hunter2/n/",
        "kv://hunter2/n/123",
        &format!("kv://hunter2/n/{VERSION}/x"),
        &format!("kv://hunter2/n/{}g", &VERSION[1..]),
        &format!("kv://hunter2{}/n", "x".repeat(18)),
        &format!("kv://hunter2/{}", "n".repeat(128)),
        "http://hunter2.vault.azure.net/secrets/n",
        "https://user:hunter2@abc.vault.azure.net/secrets/n",
        "https://hunter2.vault.azure.net:443/secrets/n",
        "https://hunter2.vault.azure.net/secrets/n?api-version=7.4",
        "https://hunter2.vault.azure.net/secrets/n/",
        "https://hunter2.vault.azure.net/secrets/",
        "https://hunter2.vault.azure.net/keys/n",
        "https://hunter2.vault.azure.net//secrets/n",
        "https://hunter2.vault.azure.net.evil.example/secrets/n",
        "https://evil.example/hunter2.vault.azure.net/secrets/n",
        "https://evil.example#hunter2.vault.azure.net/secrets/n",
        "https://a.hunter2.vault.azure.net/secrets/n",
        "https://.vault.azure.net/secrets/hunter2",
        "file:",
        "file:#hunter2",
        "file:hunter2#",
        "file:hunter2#a#b",
        "file:hunter2#a/b",
        "file:///run/hunter2",
        "file://host/hunter2",
        "file:\\\\host\\hunter2",
        "file:../hunter2",
        "file:a/../hunter2",
        "file:a\\..\\hunter2",
        "file:hunter2/",
        "file: hunter2",
        "file:hunter2\0",
        &format!("file:hunter2{}", "x".repeat(1024)),
        "env:",
        "env:1hunter2",
        "env:hunter2-x",
        "env:hunter2=x",
        "env:hunter2 ",
        "postgres://app:hunter2@db/app",
    ] {
        let error = text.parse::<SecretReference>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        assert!(!format!("{error} {error:?}").contains(marker), "{text:?}");
        let error = serde_json::from_value::<SecretReference>(json!(text)).unwrap_err();
        assert!(!error.to_string().contains(marker), "{text:?}");
    }
}

#[test]
fn refusal_of_a_number_does_not_repeat_it() {
    for value in [json!(271_828), json!(-271_828), json!(0.271_828)] {
        let error = serde_json::from_value::<SecretReference>(value).unwrap_err();
        assert!(!error.to_string().contains("271"), "{error}");
    }
}

proptest! {
    #[test]
    fn what_parses_prints_and_parses_again(
        text in "kv://[a-zA-Z][a-zA-Z0-9-]{1,24}/[a-zA-Z0-9-]{1,8}(/[0-9a-fA-F]{32})?\
                 |https://[a-z][a-z0-9-]{2,8}\\.vault\\.azure\\.net/secrets/[a-z-]{1,8}\
                 |file:[a-z./ #\\\\]{1,12}|env:[a-zA-Z0-9_]{1,8}|\\PC{0,20}",
    ) {
        if let Ok(reference) = text.parse::<SecretReference>() {
            let printed = reference.to_string();
            prop_assert_eq!(&printed.parse::<SecretReference>()?, &reference);
            let json = serde_json::to_string(&reference)?;
            prop_assert_eq!(serde_json::from_str::<SecretReference>(&json)?, reference);
            prop_assert!(text.starts_with("https:") || printed.eq_ignore_ascii_case(&text));
        }
    }
}

#[test]
fn the_secret_of_a_tenant_is_its_own_however_it_is_written() {
    let tenant = TenantId::generate();
    let reference = SecretReference::of_tenant("vault", tenant, "smtp").unwrap();
    assert_eq!(reference.tenant(), Some(tenant));
    let upper = parse(&format!(
        "kv://vault/T-{}-SMTP/{VERSION}",
        tenant.as_uuid().simple().to_string().to_uppercase()
    ));
    assert_eq!(upper.tenant(), Some(tenant));
    let simple = tenant.as_uuid().simple();
    for other in [
        format!("kv://vault/t-{simple}"),
        format!("kv://vault/t-{simple}-"),
        format!("kv://vault/t-{simple}x"),
        format!("kv://vault/x-{simple}-smtp"),
        format!("kv://vault/t-{}-smtp", uuid::Uuid::nil().simple()),
        "kv://vault/t".to_owned(),
        "env:T".to_owned(),
        format!("file:/t-{simple}-smtp"),
    ] {
        assert_eq!(parse(&other).tenant(), None, "{other}");
    }
}

#[test]
fn the_name_of_a_tenants_secret_leads_nowhere_else() {
    let tenant = TenantId::generate();
    let long = "n".repeat(93);
    for name in [
        "",
        "a/b",
        "../x",
        "ä",
        "a b",
        &long,
        VERSION.to_owned().as_str(),
    ] {
        let named = SecretReference::of_tenant("vault", tenant, name);
        match named {
            Ok(reference) => assert_eq!(reference.tenant(), Some(tenant), "{name}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}"),
        }
    }
    assert!(SecretReference::of_tenant("vault", tenant, &"n".repeat(92)).is_ok());
    assert!(SecretReference::of_tenant("v/x", tenant, "n").is_err());
}

#[test]
fn one_secret_is_one_key_whatever_its_case() {
    let one = parse("kv://vault/DB-Password");
    assert_eq!(*one.in_lower_case(), parse("kv://vault/db-password"));
    let version = one.with_version(&VERSION.to_uppercase()).unwrap();
    assert_eq!(
        version.to_string(),
        format!("kv://vault/DB-Password/{VERSION}")
    );
    assert_eq!(*parse("env:Name").in_lower_case(), parse("env:Name"));
    for (reference, version) in [("kv://vault/n", "1"), ("env:N", VERSION)] {
        let error = parse(reference).with_version(version).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
