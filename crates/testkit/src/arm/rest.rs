//! The operations of the protocol: a call in, an answer out.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::rules;
use super::state::{Account, Container, Policy, stamp};

/// A request whose caller is known, below the path of an account.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// The path of the account, as it was written.
    pub(super) id: String,
    pub(super) rest: Vec<&'a str>,
    pub(super) if_match: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What was done.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Value,
}

impl Answer {
    const fn ok(body: Value) -> Self {
        Self {
            status: 200,
            etag: None,
            body,
        }
    }
}

/// Does what a call asks for.
pub(super) fn handle(
    account: &mut Account,
    call: &Call<'_>,
    now: DateTime<Utc>,
) -> Result<Answer, Refusal> {
    match (call.method, call.rest.as_slice()) {
        ("GET", []) => Ok(Answer::ok(account_json(account, call))),
        (method, ["blobServices", "default"]) => service(account, call, method),
        (method, ["managementPolicies", name]) => {
            if *name != "default" {
                let message = "The name of a management policy must be default.";
                return Err(Refusal::new(400, "InvalidManagementPolicyName", message));
            }
            policy(account, call, method, now)
        }
        (method, ["encryptionScopes", name]) => scope(account, call, method, name, now),
        (method, ["blobServices", "default", "containers", name, rest @ ..]) => {
            if !is_container(name) {
                let message = "The name of a container is of another form.";
                return Err(Refusal::new(400, "ContainerNameInvalid", message));
            }
            container(account, call, (method, rest), name)
        }
        (_, rest) => Err(no_operation(call.method, rest)),
    }
}

fn service(account: &mut Account, call: &Call<'_>, method: &str) -> Result<Answer, Refusal> {
    match method {
        "GET" => {}
        "PUT" => {
            let properties = call.properties()?;
            for name in ["deleteRetentionPolicy", "containerDeleteRetentionPolicy"] {
                let policy = properties.get(name);
                let is_on = policy.is_some_and(|it| it["enabled"] == json!(true));
                let days = policy.and_then(|it| it["days"].as_u64());
                if is_on && !days.is_some_and(|days| (1..=365).contains(&days)) {
                    return Err(Refusal::invalid("Deleted data is kept for 1 to 365 days."));
                }
            }
            let has_locks = account.containers.values().any(|container| {
                container
                    .properties
                    .contains_key("immutableStorageWithVersioning")
            });
            if has_locks && properties.get("isVersioningEnabled") != Some(&json!(true)) {
                let message = "Versions are needed by containers with immutable versions.";
                return Err(Refusal::new(409, "VersioningRequired", message));
            }
            account.service = properties;
        }
        _ => return Err(no_operation(method, &call.rest)),
    }
    Ok(Answer::ok(json!({
        "id": format!("{}/blobServices/default", call.id),
        "name": "default",
        "type": "Microsoft.Storage/storageAccounts/blobServices",
        "properties": account.service,
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
    })))
}

fn policy(
    account: &mut Account,
    call: &Call<'_>,
    method: &str,
    now: DateTime<Utc>,
) -> Result<Answer, Refusal> {
    match method {
        "GET" => {}
        "PUT" => {
            let properties = call.properties()?;
            let policy = properties.get("policy").unwrap_or(&Value::Null);
            account.policy = Some((rules::checked(policy)?, now));
        }
        // Also where there is none.
        "DELETE" => {
            let status = if account.policy.take().is_some() {
                200
            } else {
                204
            };
            return Ok(Answer {
                status,
                etag: None,
                body: Value::Null,
            });
        }
        _ => return Err(no_operation(method, &call.rest)),
    }
    let Some((policy, at)) = &account.policy else {
        let message = "No ManagementPolicy found for the account.";
        return Err(Refusal::new(404, "ManagementPolicyNotFound", message));
    };
    Ok(Answer::ok(json!({
        "id": format!("{}/managementPolicies/default", call.id),
        "name": "DefaultManagementPolicy",
        "type": "Microsoft.Storage/storageAccounts/managementPolicies",
        "properties": { "policy": policy, "lastModifiedTime": stamp(*at) },
    })))
}

fn scope(
    account: &mut Account,
    call: &Call<'_>,
    method: &str,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Answer, Refusal> {
    if !is_container(name) {
        return Err(Refusal::invalid("The name of a scope is of another form."));
    }
    let status = match method {
        "GET" => 200,
        "PUT" if account.put_scope(name, &call.properties()?, now)? => 201,
        "PUT" => 200,
        "PATCH" => {
            account.patch_scope(name, &call.properties()?, now)?;
            200
        }
        _ => return Err(no_operation(method, &call.rest)),
    };
    let Some(scope) = account.scopes.get(name) else {
        let message = "There is no such scope.";
        return Err(Refusal::new(404, "EncryptionScopeNotFound", message));
    };
    Ok(Answer {
        status,
        etag: None,
        body: json!({
            "id": format!("{}/encryptionScopes/{name}", call.id),
            "name": name,
            "type": "Microsoft.Storage/storageAccounts/encryptionScopes",
            "properties": scope,
        }),
    })
}

fn container(
    account: &mut Account,
    call: &Call<'_>,
    operation: (&str, &[&str]),
    name: &str,
) -> Result<Answer, Refusal> {
    const POLICY: &str = "immutabilityPolicies";
    let policy = match operation {
        ("GET", []) => {
            let container = account.container(name)?;
            let etag = container.etag.clone();
            return Ok(Answer {
                status: 200,
                etag: Some(etag),
                body: container_json(container, call, name),
            });
        }
        ("PUT", []) => {
            let is_new = account.put_container(name, call.properties()?)?;
            let container = account.container(name)?;
            return Ok(Answer {
                status: if is_new { 201 } else { 200 },
                etag: Some(container.etag.clone()),
                body: container_json(container, call, name),
            });
        }
        ("POST", [verb @ ("setLegalHold" | "clearLegalHold")]) => {
            let body = call.object()?;
            let tags = body.get("tags").and_then(Value::as_array);
            let tags: Option<Vec<_>> = tags.and_then(|tags| {
                tags.iter()
                    .map(|tag| tag.as_str().map(str::to_owned))
                    .collect()
            });
            let tags = tags.ok_or_else(|| Refusal::invalid("tags is a list of texts."))?;
            let holds = account.hold(name, &tags, *verb == "setLegalHold")?;
            return Ok(Answer::ok(holds_json(holds)));
        }
        ("GET", [POLICY, "default"]) => match &account.container(name)?.policy {
            Some(policy) => policy.clone(),
            None => {
                let message = "The container has no policy.";
                return Err(Refusal::new(404, "ImmutabilityPolicyNotFound", message));
            }
        },
        ("PUT", [POLICY, "default"]) => {
            account.put_policy(name, &call.properties()?, call.if_match)?
        }
        ("DELETE", [POLICY, "default"]) => account.delete_policy(name, call.if_match)?,
        ("POST", [POLICY, "default", "lock"]) => account.lock_policy(name, call.if_match)?,
        ("POST", [POLICY, "default", "extend"]) => {
            account.extend_policy(name, &call.properties()?, call.if_match)?
        }
        (method, _) => return Err(no_operation(method, &call.rest)),
    };
    let mut body = policy_json(&policy);
    body["id"] = json!(format!(
        "{}/blobServices/default/containers/{name}/immutabilityPolicies/default",
        call.id
    ));
    body["name"] = json!("default");
    body["type"] =
        json!("Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies");
    Ok(Answer {
        status: 200,
        etag: Some(policy.etag),
        body,
    })
}

fn policy_json(policy: &Policy) -> Value {
    let state = if policy.is_locked {
        "Locked"
    } else {
        "Unlocked"
    };
    let mut body = json!({
        "etag": policy.etag,
        "properties": {
            "immutabilityPeriodSinceCreationInDays": policy.days,
            "state": state,
        },
    });
    if let Some(appends) = policy.appends {
        body["properties"][appends] = json!(true);
    }
    body
}

fn holds_json(holds: &BTreeSet<String>) -> Value {
    json!({ "hasLegalHold": !holds.is_empty(), "tags": holds })
}

fn container_json(container: &Container, call: &Call<'_>, name: &str) -> Value {
    let mut properties = container.properties.clone();
    properties
        .entry("publicAccess")
        .or_insert_with(|| json!("None"));
    properties.insert("leaseStatus".to_owned(), json!("Unlocked"));
    properties.insert("leaseState".to_owned(), json!("Available"));
    let has_policy = container.policy.is_some();
    properties.insert("hasImmutabilityPolicy".to_owned(), json!(has_policy));
    properties.insert(
        "hasLegalHold".to_owned(),
        json!(!container.holds.is_empty()),
    );
    if let Some(policy) = &container.policy {
        properties.insert("immutabilityPolicy".to_owned(), policy_json(policy));
    }
    if !container.holds.is_empty() {
        let tags: Vec<_> = container
            .holds
            .iter()
            .map(|tag| json!({ "tag": tag }))
            .collect();
        let holds = json!({ "hasLegalHold": true, "tags": tags });
        properties.insert("legalHold".to_owned(), holds);
    }
    json!({
        "id": format!("{}/blobServices/default/containers/{name}", call.id),
        "name": name,
        "type": "Microsoft.Storage/storageAccounts/blobServices/containers",
        "etag": container.etag,
        "properties": properties,
    })
}

fn account_json(account: &Account, call: &Call<'_>) -> Value {
    json!({
        "id": call.id,
        "name": call.id.rsplit('/').next(),
        "type": "Microsoft.Storage/storageAccounts",
        "kind": "StorageV2",
        "location": "westeurope",
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
        "properties": account.properties,
    })
}

/// Containers and scopes have names of one form.
fn is_container(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

fn no_operation(method: &str, rest: &[&str]) -> Refusal {
    let message = format!("There is no {method} of {}.", rest.join("/"));
    Refusal::new(404, "InvalidResourceType", message)
}

impl Call<'_> {
    fn object(&self) -> Result<Map<String, Value>, Refusal> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(Refusal::new(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized.",
            )),
        }
    }

    /// Returns the properties of a body; without them, none.
    fn properties(&self) -> Result<Map<String, Value>, Refusal> {
        match self.object()?.remove("properties") {
            Some(Value::Object(properties)) => Ok(properties),
            None => Ok(Map::new()),
            Some(_) => Err(Refusal::invalid("properties is an object.")),
        }
    }
}
