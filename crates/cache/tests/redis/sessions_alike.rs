//! Both backends of sessions, side by side: whatever is asked, they answer alike.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tenantry_cache::{
    MemorySessions, NewSession, RedisSessions, RedisSettings, SessionChange, SessionHash,
    SessionId, SessionMetadata, SessionStore, SignIn,
};
use tenantry_core::{Result, TenantId};
use tenantry_testkit::RedisServer;

const HOUR: Duration = Duration::from_secs(3_600);
const USERS: [&str; 3] = ["one", "two", "one:two"];

/// What is asked of a store.
#[derive(Debug)]
enum Asked {
    Create(Option<&'static str>),
    Load,
    Touch,
    Save(Option<u64>),
    Rotate(SessionHash, Option<u64>, Option<&'static str>),
    Delete(Option<&'static str>),
    List(&'static str),
    DeleteByUser(&'static str, bool),
}

impl Asked {
    fn draw(hashes: &[SessionHash]) -> Self {
        let mut rng = rand::rng();
        let user = USERS[rng.random_range(0..USERS.len())];
        let perhaps = rng.random_bool(0.5).then_some(user);
        let version = rng.random_bool(0.3).then(|| rng.random_range(1..4));
        match rng.random_range(0..16) {
            0..4 => Self::Create(perhaps),
            4 => Self::Load,
            5 => Self::Touch,
            6..8 => Self::Save(version),
            8..12 => Self::Rotate(hashes[rng.random_range(0..hashes.len())], version, perhaps),
            12..14 => Self::Delete(perhaps),
            14 => Self::List(user),
            _ => Self::DeleteByUser(user, rng.random_bool(0.5)),
        }
    }

    /// Returns the answer, times aside.
    async fn of(
        &self,
        store: &dyn SessionStore,
        tenant: TenantId,
        hash: SessionHash,
        data: &[u8],
    ) -> String {
        let change = |version| SessionChange {
            version,
            data: data.to_vec(),
            idle: HOUR,
        };
        let version = |answer: Result<SessionMetadata>| match answer {
            Ok(metadata) => metadata.version.to_string(),
            Err(error) => error.to_string(),
        };
        match *self {
            Self::Create(user) => {
                let new = NewSession {
                    user,
                    data: data.to_vec(),
                    lifetime: 2 * HOUR,
                    idle: HOUR,
                };
                version(store.create(tenant, hash, new).await)
            }
            Self::Load | Self::Touch => {
                let answer = match self {
                    Self::Load => store.load(tenant, hash).await,
                    _ => store.touch(tenant, hash, HOUR).await,
                };
                let stored = answer.unwrap();
                let stored = stored.map(|it| (it.user, it.data, it.metadata.version));
                format!("{stored:?}")
            }
            Self::Save(expected) => version(store.save(tenant, hash, change(expected)).await),
            Self::Rotate(to, expected, user) => {
                let lifetime = 2 * HOUR;
                let sign_in = user.map(|user| SignIn { user, lifetime });
                let rotated = store.rotate(tenant, hash, to, change(expected), sign_in);
                version(rotated.await)
            }
            Self::Delete(user) => store.delete(tenant, hash, user).await.unwrap().to_string(),
            Self::List(user) => {
                let listed = store.list(tenant, user).await.unwrap();
                let mut listed: Vec<_> = listed
                    .into_iter()
                    .map(|listed| (listed.hash, listed.metadata.version))
                    .collect();
                listed.sort();
                format!("{listed:?}")
            }
            Self::DeleteByUser(user, keeps) => {
                let except = keeps.then_some(hash);
                let ended = store.delete_by_user(tenant, user, except).await;
                ended.unwrap().to_string()
            }
        }
    }
}

#[tokio::test]
async fn both_backends_answer_alike() {
    let server = RedisServer::shared().await.unwrap();
    let settings = RedisSettings::new(server.url()).with_prefix("alike");
    let redis = RedisSessions::new(&settings).unwrap();
    let memory: Arc<dyn SessionStore> = Arc::new(MemorySessions::new());
    for _ in 0..60 {
        let tenants = [(); 2].map(|()| TenantId::generate());
        // So few that they meet; of both tenants.
        let hashes = [(); 6].map(|()| SessionId::generate().unwrap().hash());
        let mut asked = Vec::new();
        for number in 0..80_u8 {
            let mut rng = rand::rng();
            let tenant = tenants[rng.random_range(0..2)];
            let hash = hashes[rng.random_range(0..hashes.len())];
            let next = Asked::draw(&hashes);
            let one = next.of(&*memory, tenant, hash, &[number]).await;
            let other = next.of(&redis, tenant, hash, &[number]).await;
            asked.push((tenant, hash, next));
            assert_eq!(one, other, "after {asked:#?}");
        }
        for tenant in tenants {
            for hash in hashes {
                let one = Asked::Load.of(&*memory, tenant, hash, &[]).await;
                let other = Asked::Load.of(&redis, tenant, hash, &[]).await;
                assert_eq!(one, other, "after {asked:#?}");
            }
        }
    }
}
