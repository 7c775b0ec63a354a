//! Sessions that several processes share.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenantry_cache::{
    RedisSessions, RedisSettings, SessionHash, SessionPolicy, SessionStore, Sessions,
    TenantSessions,
};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::{RedisServer, StopMode};

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

fn store(url: &str) -> Arc<RedisSessions> {
    let settings = RedisSettings::new(url).with_prefix("sessions");
    Arc::new(RedisSessions::new(&settings).unwrap())
}

fn sessions(url: &str, policy: SessionPolicy) -> Sessions<String> {
    Sessions::new(store(url), policy).unwrap()
}

async fn shared(policy: SessionPolicy) -> TenantSessions<String> {
    let server = RedisServer::shared().await.unwrap();
    sessions(server.url(), policy).tenant(TenantId::generate())
}

fn policy() -> SessionPolicy {
    SessionPolicy::default()
        .with_absolute(2 * 60 * MINUTE)
        .with_idle(20 * MINUTE)
}

fn short(absolute: u32, idle: u32) -> SessionPolicy {
    SessionPolicy::default()
        .with_absolute(absolute * MILLI)
        .with_idle(idle * MILLI)
}

/// Runs a script, and returns what it answers.
async fn eval(server: &RedisServer, script: &str, keys: &[&str]) -> String {
    let count = keys.len().to_string();
    let command = [&["eval", script, &count], keys].concat();
    server.ask(&command).await.unwrap()
}

#[tokio::test]
async fn one_that_is_idle_ends_and_leaves_nothing() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), short(60_000, 200)).tenant(TenantId::generate());
    let mut session = tenant.create_for("user", String::new()).await.unwrap();
    tenant.rotate(&mut session).await.unwrap();
    tokio::time::sleep(100 * MILLI).await;
    tenant.touch(session.id()).await.unwrap().unwrap();
    tokio::time::sleep(250 * MILLI).await;
    assert!(tenant.load(session.id()).await.unwrap().is_none());
    assert!(tenant.touch(session.id()).await.unwrap().is_none());
    let saved = tenant.save(&mut session).await.unwrap_err();
    assert_eq!(saved.kind(), ErrorKind::NotFound);
    assert!(tenant.list("user").await.unwrap().is_empty());
    // What leads to it alone, for its five minutes.
    let left = "return cjson.encode(redis.call('KEYS', '*:session*'))";
    let left = eval(&server, left, &[]).await;
    assert_eq!(left.matches("session").count(), 2, "{left}");
}

#[tokio::test]
async fn one_that_is_used_ends_at_its_absolute_end() {
    let tenant = shared(short(600, 300)).await;
    let session = tenant.create_for("user", String::new()).await.unwrap();
    let began = std::time::Instant::now();
    while tenant.touch(session.id()).await.unwrap().is_some() {
        assert!(began.elapsed() < 10_000 * MILLI);
        tokio::time::sleep(20 * MILLI).await;
    }
    assert!(began.elapsed() >= 590 * MILLI, "{:?}", began.elapsed());
    assert!(tenant.list("user").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_absolute_time_begins_anew_where_a_user_signs_in() {
    let tenant = shared(short(1_000, 900)).await;
    let mut session = tenant.create(String::new()).await.unwrap();
    let ends = session.metadata().created_at + chrono::TimeDelta::seconds(1);
    tokio::time::sleep(300 * MILLI).await;
    tenant.rotate(&mut session).await.unwrap();
    assert_eq!(session.metadata().expires_at, ends);
    tenant.sign_in(&mut session, "user").await.unwrap();
    assert!(session.metadata().expires_at > ends);
    assert!(session.metadata().created_at > ends - chrono::TimeDelta::seconds(1));
}

/// Also one to which an operator gave no end, or that a clock which was set back leaves there.
#[tokio::test]
async fn one_that_is_over_is_none_though_it_lies_there() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), short(60_000, 100)).tenant(TenantId::generate());
    let mut session = tenant.create_for("user", String::new()).await.unwrap();
    let of_tenant = format!("sessions:{{t:{}}}", tenant.tenant());
    let key = format!("{of_tenant}:session:{}", session.hash());
    let index = format!("{of_tenant}:sessions-of-user:user");
    for key in [&key, &index] {
        server.execute(&["persist", key]).await.unwrap();
    }
    tokio::time::sleep(150 * MILLI).await;
    assert_eq!(server.ask(&["exists", &key]).await.unwrap(), "1");
    assert!(tenant.touch(session.id()).await.unwrap().is_none());
    assert!(tenant.save(&mut session).await.is_err());
    assert!(tenant.list("user").await.unwrap().is_empty());
    assert!(!tenant.delete(session.id()).await.unwrap());
}

/// Whatever is written has an end, that of the last session at the latest.
#[tokio::test]
async fn nothing_is_kept_without_an_end() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), policy()).tenant(TenantId::generate());
    let mut session = tenant.create_for("user", String::new()).await.unwrap();
    tenant.save(&mut session).await.unwrap();
    tenant.sign_in(&mut session, "another").await.unwrap();
    tenant.touch(session.id()).await.unwrap().unwrap();
    tenant.create(String::new()).await.unwrap();
    let longest = "local longest = 0
        for _, key in ipairs(redis.call('KEYS', '*:session*')) do
          local left = redis.call('PTTL', key)
          if left < 0 then return key end
          longest = math.max(longest, left)
        end
        return longest";
    let longest = eval(&server, longest, &[]).await;
    assert!(
        (1..=1_200_000).contains(&longest.parse().unwrap()),
        "{longest}"
    );
}

#[tokio::test]
async fn an_index_holds_none_that_has_expired() {
    let server = RedisServer::start().await.unwrap();
    let id = TenantId::generate();
    let (brief, long) = (short(60_000, 50), policy());
    let [brief, long] = [brief, long].map(|policy| sessions(server.url(), policy).tenant(id));
    long.create_for("user", String::new()).await.unwrap();
    for _ in 0..20 {
        brief.create_for("user", String::new()).await.unwrap();
    }
    tokio::time::sleep(100 * MILLI).await;
    long.create_for("user", String::new()).await.unwrap();
    let index = format!("sessions:{{t:{id}}}:sessions-of-user:user");
    assert_eq!(server.ask(&["zcard", &index]).await.unwrap(), "2");
    assert_eq!(long.delete_by_user("user").await.unwrap(), 2);
    assert_eq!(server.ask(&["exists", &index]).await.unwrap(), "0");
}

/// What processes of this version have written, later ones read.
#[tokio::test]
async fn what_is_stored_is_as_it_was() {
    let server = RedisServer::start().await.unwrap();
    let id = TenantId::from_u128(0x0190_b5a4_8f2e_7c3d_9a61_4f0e_5d2c_1b7a).unwrap();
    let store = store(server.url());
    // Of the id that is all zeros.
    let text = "Zmh6rfhivXdsj8GLjp-OIAiXFIVu4jOzkCpZHQ1fKSU";
    let hash: SessionHash = text.parse().unwrap();
    let key = format!("sessions:{{t:{id}}}:session:{text}");
    let index = format!("sessions:{{t:{id}}}:sessions-of-user:user%3A17");
    let write = "redis.call('HSET', KEYS[1], 'identity', '0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a:\
            Zmh6rfhivXdsj8GLjp-OIAiXFIVu4jOzkCpZHQ1fKSU', 'user', 'user:17', 'index', KEYS[2],
            'data', '{\"basket\":[\"ink\"]}', 'version', '7', 'created', '1793000000000',
            'seen', '1793000000001', 'ends', '32503680000000', 'expires', '32503680000000')
        return redis.call('ZADD', KEYS[2], '32503680000000', KEYS[1])";
    eval(&server, write, &[&key, &index]).await;

    let stored = store.load(id, hash).await.unwrap().unwrap();
    assert_eq!(stored.user.as_deref(), Some("user:17"));
    assert_eq!(stored.data, br#"{"basket":["ink"]}"#);
    let metadata = stored.metadata;
    assert_eq!(metadata.version, 7);
    assert_eq!(metadata.created_at.timestamp_millis(), 1_793_000_000_000);
    assert_eq!(metadata.last_seen_at.timestamp_millis(), 1_793_000_000_001);
    assert_eq!(metadata.expires_at.timestamp_millis(), 32_503_680_000_000);
    let listed = store.list(id, "user:17").await.unwrap();
    assert_eq!((listed[0].hash, listed[0].metadata), (hash, metadata));

    // And it is written like this: in the order of the fields, times aside.
    assert!(store.delete(id, hash, Some("user:17")).await.unwrap());
    let sessions = Sessions::<serde_json::Value>::new(store, policy()).unwrap();
    let data = json!({ "basket": ["ink"] });
    let session = sessions
        .tenant(id)
        .create_for("user:17", data)
        .await
        .unwrap();
    let key = format!("sessions:{{t:{id}}}:session:{}", session.hash());
    let fields = "return cjson.encode(redis.call('HGETALL', KEYS[1]))";
    let fields: Vec<String> = serde_json::from_str(&eval(&server, fields, &[&key]).await).unwrap();
    let fields: Vec<_> = fields.chunks_exact(2).collect();
    let metadata = session.metadata();
    let created = metadata.created_at.timestamp_millis();
    let expected = [
        ["identity", &format!("{id}:{}", session.hash())],
        ["data", r#"{"basket":["ink"]}"#],
        ["user", "user:17"],
        ["index", &index],
        ["version", "1"],
        ["created", &created.to_string()],
        ["seen", &created.to_string()],
        ["ends", &(created + 7_200_000).to_string()],
        ["expires", &(created + 1_200_000).to_string()],
    ];
    assert_eq!(fields.len(), expected.len());
    for field in expected {
        assert!(
            fields.contains(&&field.map(str::to_owned)[..]),
            "{field:?} of {fields:?}"
        );
    }
    let score = server.ask(&["zscore", &index, &key]).await.unwrap();
    assert_eq!(score, (created + 1_200_000).to_string());
}

/// In no key and no value, in whichever form.
#[tokio::test]
async fn no_id_lies_in_the_server() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), policy()).tenant(TenantId::generate());
    let mut ids = Vec::new();
    for data in ["one", "two"] {
        let mut session = tenant.create(data.to_owned()).await.unwrap();
        ids.push(session.id().clone());
        tenant.touch(session.id()).await.unwrap().unwrap();
        tenant.save(&mut session).await.unwrap();
        tenant.sign_in(&mut session, "user").await.unwrap();
        ids.push(session.id().clone());
        tenant.rotate(&mut session).await.unwrap();
        ids.push(session.id().clone());
    }
    let all = "local all = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
          local kind = redis.call('TYPE', key).ok
          local value
          if kind == 'hash' then value = redis.call('HGETALL', key)
          elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
          else return error('a key of another type: ' .. kind) end
          all[#all + 1] = { key, value }
        end
        local hex = cjson.encode(all):gsub('.', function (c) return string.format('%02x', c:byte()) end)
        return hex";
    let all = eval(&server, all, &[]).await;
    let holds = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        all.contains(&hex)
    };
    assert!(holds(b"one") && holds(b"user"), "it looks at all");
    use base64::Engine as _;
    for id in &ids {
        let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(id.expose())
            .unwrap();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [
            id.expose().as_bytes(),
            &raw,
            hex.as_bytes(),
            hex.to_uppercase().as_bytes(),
        ] {
            assert!(!holds(form));
            assert!(!holds(&form[..form.len() / 2]));
        }
    }
    let last = ids.last().unwrap().hash().to_string();
    assert!(holds(last.as_bytes()), "what stands in its place");
}

/// Copied under the key of another tenant's session, or of another id, it is nobody's.
#[tokio::test]
async fn one_that_lies_where_another_belongs_is_none() {
    let server = RedisServer::start().await.unwrap();
    let store = store(server.url());
    let sessions = Sessions::<String>::new(Arc::clone(&store) as _, policy()).unwrap();
    let [ours, theirs] = [(); 2].map(|()| sessions.tenant(TenantId::generate()));
    let mut session = ours.create_for("user", "one".to_owned()).await.unwrap();
    let key = |tenant: TenantId, hash| format!("sessions:{{t:{tenant}}}:session:{hash}");
    let from = key(ours.tenant(), session.hash());
    let to = key(theirs.tenant(), session.hash());
    server.execute(&["copy", &from, &to]).await.unwrap();
    assert!(theirs.load(session.id()).await.unwrap().is_none());
    assert!(theirs.touch(session.id()).await.unwrap().is_none());
    assert!(theirs.save(&mut session).await.is_err());
    assert!(!theirs.delete(session.id()).await.unwrap());
    assert!(ours.load(session.id()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_deleted_stays_deleted_on_several_nodes() {
    let server = RedisServer::shared().await.unwrap();
    let id = TenantId::generate();
    let nodes: Vec<_> = (0..3)
        .map(|_| sessions(server.url(), policy()).tenant(id))
        .collect();
    for _ in 0..300 {
        let session = nodes[0].create_for("user", String::new()).await.unwrap();
        let tasks: Vec<_> = nodes
            .iter()
            .map(|node| {
                let (node, id) = (node.clone(), session.id().clone());
                tokio::spawn(async move {
                    let Some(mut slow) = node.load(&id).await.unwrap() else {
                        return id;
                    };
                    let _ = node.touch(&id).await.unwrap();
                    let _ = node.rotate(&mut slow).await;
                    let _ = node.save(&mut slow).await;
                    slow.id().clone()
                })
            })
            .collect();
        let is_ended = nodes[2].delete(session.id()).await.unwrap();
        assert!(is_ended);
        for task in tasks {
            let slow = task.await.unwrap();
            assert!(nodes[0].touch(&slow).await.unwrap().is_none());
        }
        assert!(nodes[1].list("user").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_told_and_no_session_is_taken_for_ended() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), policy()).tenant(TenantId::generate());
    let mut session = tenant.create_for("user", String::new()).await.unwrap();
    server.stop(StopMode::Immediate).await.unwrap();
    let id = session.id().clone();
    for failed in [
        tenant.create(String::new()).await.map(drop),
        tenant.load(&id).await.map(drop),
        tenant.touch(&id).await.map(drop),
        tenant.save(&mut session).await,
        tenant.rotate(&mut session).await,
        tenant.delete(&id).await.map(drop),
        tenant.list("user").await.map(drop),
        tenant.delete_by_user("user").await.map(drop),
    ] {
        let failed = failed.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed:?}");
        assert!(failed.is_retryable());
    }
    assert_eq!(session.id(), &id, "it was not rotated");
    server.restart().await.unwrap();
    super::until(|| async { tenant.create(String::new()).await.is_ok() }).await;
    assert!(tenant.load(&id).await.unwrap().is_none());
}

/// A full server takes nothing, and still ends sessions; what it refuses, it does not do by half.
#[tokio::test]
async fn a_full_server_still_logs_out() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), policy()).tenant(TenantId::generate());
    let mut session = tenant.create_for("user", "one".to_owned()).await.unwrap();
    server
        .execute(&["config", "set", "maxmemory", "100kb"])
        .await
        .unwrap();
    session.data = "two".to_owned();
    for refused in [
        tenant.create(String::new()).await.map(drop),
        tenant.touch(session.id()).await.map(drop),
        tenant.save(&mut session).await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused:?}");
    }
    let kept = tenant.load(session.id()).await.unwrap().unwrap();
    assert_eq!((&*kept.data, kept.metadata().version), ("one", 1));
    // It frees first, and who has begun to write may go on.
    let before = session.id().clone();
    tenant.rotate(&mut session).await.unwrap();
    assert!(tenant.load(&before).await.unwrap().is_none());
    let rotated = tenant.load(session.id()).await.unwrap().unwrap();
    assert_eq!((&*rotated.data, rotated.user()), ("two", Some("user")));
    assert_eq!(tenant.delete_by_user("user").await.unwrap(), 1);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
}

/// Wherever it is dropped, there is one session in the end, and who logs out ends it.
#[tokio::test]
async fn a_rotation_that_is_dropped_is_done_as_a_whole_or_not_at_all() {
    let tenant = shared(policy()).await;
    let (mut done, mut undone) = (0, 0);
    for round in 0..200 {
        let mut session = tenant.create_for("user", String::new()).await.unwrap();
        let before = session.id().clone();
        let patience = Duration::from_micros(round * 5);
        let rotated = tokio::time::timeout(patience, tenant.rotate(&mut session)).await;
        assert_eq!(rotated.is_ok(), session.id() != &before);
        let listed = tenant.list("user").await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        match tenant.load(&before).await.unwrap() {
            Some(_) => undone += 1,
            None => done += 1,
        }
        assert!(tenant.delete(&before).await.unwrap());
        assert!(tenant.list("user").await.unwrap().is_empty());
    }
    assert!(done > 0 && undone > 0, "{done} {undone}");
}

#[tokio::test]
async fn a_server_that_is_halted_is_told_in_time() {
    let server = RedisServer::start().await.unwrap();
    let tenant = sessions(server.url(), policy()).tenant(TenantId::generate());
    let session = tenant.create(String::new()).await.unwrap();
    server.pause().await.unwrap();
    let begun = std::time::Instant::now();
    let failed = tenant.load(session.id()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed:?}");
    assert!(begun.elapsed() < 5_000 * MILLI, "{:?}", begun.elapsed());
    server.resume().await.unwrap();
    // It was not taken for ended.
    super::until(|| async {
        let again = tenant.load(session.id()).await;
        again.is_ok_and(|again| again.is_some())
    })
    .await;
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conforms() {
    use tenantry_cache::conformance::session_store_conformance;

    let server = RedisServer::shared().await.unwrap();
    session_store_conformance(store(server.url())).await;
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn the_rules_of_a_prefix_are_enough_for_its_user() {
    use tenantry_cache::conformance::session_store_conformance;
    use tenantry_core::Secret;

    let server = RedisServer::start().await.unwrap();
    let settings = RedisSettings::new(server.url()).with_prefix("sessions");
    let rules = settings.acl_rules().unwrap();
    let set = ["acl", "setuser", "gateway", "on", ">password"];
    let set: Vec<_> = set.into_iter().chain(rules.split(' ')).collect();
    server.execute(&set).await.unwrap();
    let settings = settings
        .with_user("gateway")
        .with_password(Secret::new("password"));
    let store = |prefix: &str| {
        let settings = settings.clone().with_prefix(prefix);
        Arc::new(RedisSessions::new(&settings).unwrap())
    };
    session_store_conformance(store("sessions")).await;
    let elsewhere = Sessions::new(store("another"), policy()).unwrap();
    let refused = elsewhere
        .tenant(TenantId::generate())
        .create(String::new())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
}
