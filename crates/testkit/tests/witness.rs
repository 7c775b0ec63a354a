//! The witness tells of every statement that leaves the tenant out, and of no other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, Transaction};
use tenantry_core::TenantId;
use tenantry_store::{
    Aggregate, Changes, PostgresSettings, Query, Repository as _, RepositoryExt as _, TenantStore,
    Version,
};
use tenantry_testkit::{
    Login, PgBouncer, PgBouncerOptions, PostgresServer, Roles, StatementWitness, TestDatabase,
    WitnessReport, assert_isolated, wall_two_alone,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices", audited, soft_delete)]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    customer: String,
    cents: i64,
    #[aggregate(version)]
    version: Version,
}

const TABLES: &str = "
    create table invoices (
        tenant_id uuid not null, id uuid not null, customer text not null, cents bigint not null,
        version bigint not null, created_at timestamptz not null, created_by text not null,
        modified_at timestamptz not null, modified_by text not null, trace_id text,
        deleted_at timestamptz, deleted_by text, primary key (tenant_id, id)
    );
    create table notes (
        tenant_id uuid not null, id int not null, text text, primary key (tenant_id, id)
    );
    create table countries (id int primary key);
    create function count_notes() returns bigint language sql as 'select count(*) from notes';
    create function notes_of(countries) returns bigint language sql
        as 'select count(*) from notes where id = $1.id';
    create function id(int) returns bigint language sql as 'select count(*) from notes';
    select tenantry.protect('invoices'), tenantry.protect('notes'), tenantry.share('countries');";

const T1: Uuid = Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111);
const T2: Uuid = Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222);

fn sample() -> Invoice {
    Invoice {
        id: Uuid::now_v7(),
        customer: "Ada".into(),
        cents: 1,
        version: Version::NEW,
    }
}

/// A database with the tables, and a witness before its server.
struct Fixture {
    witness: StatementWitness,
    database: TestDatabase,
    owner: Login,
    app: Login,
    platform: Login,
}

impl Fixture {
    async fn open() -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let database = TestDatabase::create(server).await.unwrap();
        let Roles {
            owner,
            app,
            platform,
        } = database.bootstrap().await.unwrap();
        let fixture = Self {
            witness: StatementWitness::start(server.admin_url()).await.unwrap(),
            database,
            owner,
            app,
            platform,
        };
        let mut owner = PgConnection::connect(fixture.owner.url()).await.unwrap();
        owner.execute(sqlx::raw_sql(TABLES)).await.unwrap();
        fixture
    }

    /// Connects through the witness.
    async fn connect(&self, url: &str) -> PgConnection {
        let url = self.witness.url(url).unwrap();
        PgConnection::connect(&url).await.unwrap()
    }

    /// Connects as the app role. The mark that keeps a run of the whole suite under a witness
    /// from telling of these statements too is not there for the witness of this test.
    async fn app(&self) -> PgConnection {
        self.connect(self.app.url()).await
    }

    async fn store(&self) -> TenantStore {
        let url = self.witness.url(self.app.url()).unwrap();
        let settings = PostgresSettings::new(url).with_max_connections(2);
        TenantStore::postgres(settings).await.unwrap()
    }

    /// Asserts the reasons of all violations, by a part of each.
    fn tells(&self, reasons: &[&str]) {
        tells(&self.witness.report(), reasons);
    }
}

fn tells(report: &WitnessReport, reasons: &[&str]) {
    let told: Vec<&str> = report.violations().map(|one| one.reason.as_str()).collect();
    assert_eq!(told.len(), reasons.len(), "{report}");
    for reason in reasons {
        assert!(
            told.iter().any(|told| told.contains(reason)),
            "{reason}\n{report}"
        );
    }
}

async fn begin(connection: &mut PgConnection, tenant: Uuid) -> Transaction<'_, Postgres> {
    let begin = format!("BEGIN; SET LOCAL tenantry.tenant_id = '{tenant}'");
    connection.begin_with(AssertSqlSafe(begin)).await.unwrap()
}

/// Runs a statement with one argument for a tenant.
async fn run(connection: &mut PgConnection, tenant: Uuid, sql: &'static str, argument: Uuid) {
    let mut tx = begin(connection, tenant).await;
    sqlx::query(sql)
        .bind(argument)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

const BOUND: &str = "select id from notes where tenant_id = $1";

// --- What the store sends ------------------------------------------------------------------------

#[tokio::test]
async fn a_store_binds_the_tenant_in_all_that_it_sends() {
    let fixture = Fixture::open().await;
    let store = fixture.store().await;
    assert_isolated(&store, |scope| scope.repository::<Invoice>(), sample).await;
    let tenant = store.tenant(TenantId::new(T1).unwrap());
    let invoices = tenant.repository::<Invoice>();
    let mut many: Vec<Invoice> = std::iter::repeat_with(sample).take(3).collect();
    invoices.insert_many(&mut many).await.unwrap();
    let all = Invoice::CUSTOMER.eq("Ada");
    let raised = Changes::new().set(Invoice::CENTS, 2);
    assert_eq!(
        invoices.update_where(all.clone(), raised, 9).await.unwrap(),
        3
    );
    let page = invoices
        .list(Query::new().filter(all.clone()).limit(2))
        .await
        .unwrap();
    assert_eq!(page.items.len(), 2);
    let work = tenant.begin().await.unwrap();
    let mut one = page.items[0].clone();
    work.repository::<Invoice>().update(&mut one).await.unwrap();
    work.repository::<Invoice>()
        .delete(&page.items[1])
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(invoices.delete_where(all, 9).await.unwrap(), 2);

    let report = fixture.witness.report();
    report.assert_clean();
    assert!(report.on_tenants() > 40, "{report}");
    assert!(report.statements().count() > 20, "{report}");
}

// --- What it tells of ----------------------------------------------------------------------------

#[tokio::test]
async fn a_statement_without_the_tenant_is_told_of_with_its_text() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    for _ in 0..2 {
        run(
            &mut app,
            T1,
            "select id from notes where $1 is not null",
            T1,
        )
        .await;
    }
    let report = fixture.witness.report();
    let [violation] = report.violations().collect::<Vec<_>>()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        violation.statement,
        "select id from notes where $1 is not null"
    );
    assert_eq!(violation.table, "notes");
    assert_eq!(violation.role, fixture.app.user());
    assert_eq!(violation.database, fixture.database.name());
    assert_eq!(violation.times, 2);
    assert!(!report.is_clean());
    assert!(
        report.to_string().contains("| select id from notes"),
        "{report}"
    );
}

#[tokio::test]
async fn the_argument_has_to_be_the_tenant_of_the_transaction() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    run(&mut app, T1, BOUND, T1).await;
    run(&mut app, T2, BOUND, T2).await;
    fixture.tells(&[]);
    run(&mut app, T1, BOUND, T2).await;
    fixture.tells(&["$1 is another tenant"]);
    sqlx::query(BOUND)
        .bind(T1)
        .fetch_all(&mut app)
        .await
        .unwrap();
    fixture.tells(&["$1 is another tenant", "has no tenant"]);
    let mut tx = begin(&mut app, T1).await;
    sqlx::query(BOUND)
        .bind(None::<Uuid>)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    fixture.tells(&["$1 is another tenant", "has no tenant", "$1 is no tenant"]);
}

#[tokio::test]
async fn the_tenant_ends_with_its_transaction() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    begin(&mut app, T1).await.commit().await.unwrap();
    let mut tx = app.begin().await.unwrap();
    sqlx::query(BOUND).bind(T1).execute(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    fixture.tells(&["has no tenant"]);
}

#[tokio::test]
async fn a_statement_may_enter_its_tenant_by_itself() {
    const ENTERING: &str = "select note.id
        from set_config('tenantry.tenant_id', $1::text, true) as entered (tenant)
        cross join lateral (
            select id from notes where tenant_id = $2 and entered.tenant is not null
        ) as note";
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    for (entered, bound) in [(T1, T1), (T2, T2)] {
        let query = sqlx::query(ENTERING).bind(entered).bind(bound);
        query.execute(&mut app).await.unwrap();
    }
    fixture.tells(&[]);
    let query = sqlx::query(ENTERING).bind(T1).bind(T2);
    query.execute(&mut app).await.unwrap();
    fixture.tells(&["$2 is another tenant"]);
    // It was entered for that statement alone.
    sqlx::query(BOUND).bind(T1).execute(&mut app).await.unwrap();
    fixture.tells(&["$2 is another tenant", "has no tenant"]);
}

#[tokio::test]
async fn a_tenant_is_set_for_a_transaction_and_once() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    let other = format!("set local tenantry.tenant_id = '{T2}'");
    tx.execute(AssertSqlSafe(other)).await.unwrap();
    tx.rollback().await.unwrap();
    fixture.tells(&["another tenant in a transaction"]);
    let lasting = format!("set tenantry.tenant_id = '{T1}'");
    app.execute(AssertSqlSafe(lasting)).await.unwrap();
    fixture.tells(&[
        "another tenant in a transaction",
        "outlives the transaction",
    ]);
}

#[tokio::test]
async fn a_savepoint_brings_its_tenant_back() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = app.begin().await.unwrap();
    tx.execute("savepoint one").await.unwrap();
    tx.execute(AssertSqlSafe(format!(
        "set local tenantry.tenant_id = '{T1}'"
    )))
    .await
    .unwrap();
    sqlx::query(BOUND).bind(T1).execute(&mut *tx).await.unwrap();
    fixture.tells(&[]);
    tx.execute("rollback to savepoint one").await.unwrap();
    sqlx::query(BOUND).bind(T1).execute(&mut *tx).await.unwrap();
    fixture.tells(&["has no tenant"]);
}

#[tokio::test]
async fn a_statement_of_the_simple_protocol_binds_nothing() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    let literal = format!("select 1; select id from notes where tenant_id = '{T1}'");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(literal)))
        .await
        .unwrap();
    fixture.tells(&["written in the text"]);
    let counted = tx.fetch_one(sqlx::raw_sql("select count_notes()")).await;
    counted.unwrap();
    tx.rollback().await.unwrap();
    fixture.tells(&["written in the text", "the function `count_notes`"]);
}

#[tokio::test]
async fn a_function_of_a_row_is_told_from_a_column() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    let sql = "select c.id from countries c where c.notes_of > 0";
    tx.execute(sql).await.unwrap();
    // The function `id` takes no row.
    tx.execute("select c.id from countries c").await.unwrap();
    tx.commit().await.unwrap();
    fixture.tells(&["the function `notes_of` of a row"]);
}

#[tokio::test]
async fn what_the_server_reads_differently_is_told_of() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    for sql in [
        "select from only (notes)",
        "select query_to_xml('select from not' || 'es', true, true, '')",
        "do $$ begin execute 'select from not' || 'es'; end $$",
    ] {
        tx.execute(sqlx::raw_sql(sql)).await.unwrap();
    }
    tx.commit().await.unwrap();
    fixture.tells(&["found: do", "no condition", "`query_to_xml` runs a text"]);
}

#[tokio::test]
async fn a_table_is_held_to_tenants_from_its_protection_on() {
    let fixture = Fixture::open().await;
    let mut owner = fixture.connect(fixture.owner.url()).await;
    let mut app = fixture.app().await;
    let read = sqlx::raw_sql("select from late");
    app.execute(read).await.unwrap_err();
    let create = "create table late (tenant_id uuid not null, primary key (tenant_id))";
    owner.execute(create).await.unwrap();
    app.execute(sqlx::raw_sql("select from late"))
        .await
        .unwrap_err();
    fixture.tells(&[]);
    let mut tx = owner.begin().await.unwrap();
    tx.execute("select tenantry.protect('late')").await.unwrap();
    // A look at the catalog between the change and its commit.
    app.execute(sqlx::raw_sql("select from notes, nowhere"))
        .await
        .unwrap_err();
    tx.commit().await.unwrap();
    app.execute(sqlx::raw_sql("select from late"))
        .await
        .unwrap();
    let tables: Vec<String> = fixture
        .witness
        .report()
        .violations()
        .map(|it| it.table.clone())
        .collect();
    assert_eq!(tables, ["late", "notes"]);
}

// --- What it lets be -----------------------------------------------------------------------------

#[tokio::test]
async fn roles_that_work_across_tenants_are_let_be() {
    let fixture = Fixture::open().await;
    for url in [
        fixture.owner.url(),
        fixture.platform.url(),
        fixture.database.admin_url(),
    ] {
        let mut connection = fixture.connect(url).await;
        // The owner is refused, for it sees no row.
        let _ = connection.execute("select count(*) from notes").await;
    }
    let mut app = fixture.app().await;
    app.execute("select from countries, pg_class, tenantry.settings")
        .await
        .unwrap();
    fixture.tells(&[]);
    assert_eq!(fixture.witness.report().on_tenants(), 0);
}

#[tokio::test]
async fn a_service_with_a_login_of_its_own_is_held_to_tenants() {
    let fixture = Fixture::open().await;
    let service = fixture.database.create_login("service").await.unwrap();
    let grant = format!("grant {} to {}", fixture.app.user(), service.user());
    fixture.database.execute(&grant).await.unwrap();
    let mut service = fixture.connect(service.url()).await;
    service.execute("select from notes").await.unwrap();
    fixture.tells(&["no condition"]);
}

#[tokio::test]
async fn what_is_meant_for_wall_two_alone_is_counted_apart() {
    let fixture = Fixture::open().await;
    let url = wall_two_alone(fixture.app.url()).unwrap();
    let mut app = fixture.connect(&url).await;
    app.execute("select from notes").await.unwrap();
    run(&mut app, T1, BOUND, T1).await;
    let report = fixture.witness.report();
    assert!(report.is_clean());
    assert_eq!((report.wall_two_alone(), report.on_tenants()), (2, 0));
    // The name ends with its statement.
    app.execute("set application_name = 'service'")
        .await
        .unwrap();
    app.execute("select from notes").await.unwrap();
    fixture.tells(&["no condition"]);
}

#[tokio::test]
#[should_panic = "connect through its URL"]
async fn a_witness_that_saw_nothing_has_nothing_to_say() {
    let server = PostgresServer::shared().await.unwrap();
    let witness = StatementWitness::start(server.admin_url()).await.unwrap();
    witness.report().assert_clean();
}

// --- How it passes things on ---------------------------------------------------------------------

/// Passes what clients send on in pieces of one byte, and answers as they are.
async fn crumbling(server: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            server.set_nodelay(true).unwrap();
            let (mut client_reader, mut client_writer) = client.into_split();
            let (mut server_reader, mut server_writer) = server.into_split();
            tokio::spawn(async move {
                while let Ok(byte) = client_reader.read_u8().await {
                    server_writer.write_u8(byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut server_reader, &mut client_writer).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_message_is_read_however_it_is_split() {
    let fixture = Fixture::open().await;
    let address = crumbling(fixture.witness.address()).await;
    let mut url = url::Url::parse(&fixture.witness.url(fixture.app.url()).unwrap()).unwrap();
    url.set_port(Some(address.port())).unwrap();
    let mut app = PgConnection::connect(url.as_str()).await.unwrap();
    run(&mut app, T1, BOUND, T1).await;
    fixture.tells(&[]);
    assert_eq!(fixture.witness.report().on_tenants(), 1);
    run(&mut app, T1, BOUND, T2).await;
    app.execute(sqlx::raw_sql("select from notes"))
        .await
        .unwrap();
    fixture.tells(&["$1 is another tenant", "no condition"]);
}

#[tokio::test]
async fn large_arguments_answers_and_copies_pass() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    let large = "x".repeat(20_000_000);
    // The tenant is behind the large argument.
    sqlx::query("insert into notes (id, text, tenant_id) values (1, $1, $2)")
        .bind(&large)
        .bind(T1)
        .execute(&mut *tx)
        .await
        .unwrap();
    let text: String = sqlx::query_scalar("select text from notes where tenant_id = $1")
        .bind(T1)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert!(text == large);
    tx.commit().await.unwrap();
    fixture.tells(&[]);

    let mut admin = fixture.connect(fixture.database.admin_url()).await;
    let mut copy = admin.copy_in_raw("copy notes from stdin").await.unwrap();
    for id in 2..200 {
        copy.send(format!("{T2}\t{id}\t{}\n", "y".repeat(100_000)).as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 198);
    fixture.tells(&[]);
}

#[tokio::test]
async fn many_connections_are_told_apart() {
    let fixture = Fixture::open().await;
    let clients = (0..40_u128).map(|number| {
        let fixture = &fixture;
        async move {
            let mut app = fixture.app().await;
            let tenant = Uuid::from_u128(T1.as_u128() + number);
            for _ in 0..5 {
                run(&mut app, tenant, BOUND, tenant).await;
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let report = fixture.witness.report();
    report.assert_clean();
    assert_eq!(report.on_tenants(), 200);
}

#[tokio::test]
async fn a_pooler_behind_which_clients_mix_is_told_apart_too() {
    let fixture = Fixture::open().await;
    let server = PostgresServer::shared().await.unwrap();
    let witnessed = fixture.witness.url(server.admin_url()).unwrap();
    let settings = tenantry_testkit::Settings::from_env().unwrap();
    let settings = settings
        .with_url(witnessed)
        .with_way(tenantry_testkit::Way::Url);
    let witnessed = PostgresServer::find(&settings).await.unwrap();
    let options = PgBouncerOptions::default()
        .with_pool_size(1)
        .with_login(&fixture.app);
    let pooler = PgBouncer::start(&witnessed, options).await.unwrap();
    let url = pooler.url(fixture.app.url()).unwrap();
    let alone = wall_two_alone(&url).unwrap();
    // Without a name of its own it would go under that of the client before it.
    let named = format!("{url}?application_name=service");
    let mut one = PgConnection::connect(&named).await.unwrap();
    let mut other = PgConnection::connect(&alone).await.unwrap();
    other
        .execute(sqlx::raw_sql("select from notes"))
        .await
        .unwrap();
    let read = format!("begin; set local tenantry.tenant_id = '{T1}'; select from countries; end");
    one.execute(sqlx::raw_sql(AssertSqlSafe(read)))
        .await
        .unwrap();
    fixture.tells(&[]);
    one.execute(sqlx::raw_sql("select from notes"))
        .await
        .unwrap();
    fixture.tells(&["no condition"]);
}

#[tokio::test]
async fn the_last_words_of_a_server_reach_the_client() {
    let fixture = Fixture::open().await;
    let server = PostgresServer::shared().await.unwrap();
    let mut app = fixture.app().await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut app)
        .await
        .unwrap();
    server.kill_backend(pid).await.unwrap();
    let error = app.execute("select 1").await.unwrap_err();
    let code = error.as_database_error().and_then(|error| error.code());
    assert_eq!(
        code.as_deref(),
        Some("57P01"),
        "admin_shutdown, not {error}"
    );
}

#[tokio::test]
async fn a_client_that_is_gone_is_gone_for_the_server_too() {
    let fixture = Fixture::open().await;
    let mut app = fixture.app().await;
    let mut tx = begin(&mut app, T1).await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    drop(tx);
    // Without a farewell.
    app.close_hard().await.unwrap();
    let mut admin = PgConnection::connect(fixture.database.admin_url())
        .await
        .unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let still_there = "select exists (select from pg_stat_activity where pid = $1)";
    while sqlx::query_scalar(still_there)
        .bind(pid)
        .fetch_one(&mut admin)
        .await
        .unwrap()
    {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_template_can_be_copied_while_its_tables_are_judged() {
    let fixture = Fixture::open().await;
    let server = PostgresServer::shared().await.unwrap();
    let mut app = fixture.app().await;
    app.execute("select from notes").await.unwrap();
    app.close().await.unwrap();
    TestDatabase::from_template(server, &fixture.database)
        .await
        .unwrap();
}

/// A server that keeps what it gets.
async fn listening() -> (TcpListener, StatementWitness) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "postgres://admin@{}/postgres",
        listener.local_addr().unwrap()
    );
    (listener, StatementWitness::start(&url).await.unwrap())
}

#[tokio::test]
async fn a_cancellation_is_passed_on_whole() {
    let (listener, witness) = listening().await;
    let mut client = TcpStream::connect(witness.address()).await.unwrap();
    let request = [[0, 0, 0, 16], [4, 210, 22, 46], [0, 0, 0, 7], [1, 2, 3, 4]].concat();
    client.write_all(&request).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, request);
    drop(server);
    // The client waits for the end of the connection, and takes it for done.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(witness.report().seen(), 0);
}

#[tokio::test]
async fn encryption_is_declined_and_what_follows_is_read() {
    let (listener, witness) = listening().await;
    let mut client = TcpStream::connect(witness.address()).await.unwrap();
    for code in [[4, 210, 22, 47], [4, 210, 22, 48]] {
        client
            .write_all(&[[0, 0, 0, 8], code].concat())
            .await
            .unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'N');
    }
    let startup = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
    client.write_all(startup).await.unwrap();
    client.write_all(b"Q\0\0\0\x0dselect 1\0").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut got = vec![0; startup.len() + 14];
    server.read_exact(&mut got).await.unwrap();
    assert!(got.starts_with(startup) && got.ends_with(b"select 1\0"));
    let report = witness.report();
    let statements: Vec<_> = report.statements().collect();
    assert_eq!(statements, [("select 1", 1)]);
}

#[tokio::test]
async fn what_is_no_client_is_turned_away() {
    let (_listener, witness) = listening().await;
    for nonsense in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\0\0\0\x04\0\0\0\0",
        b"\x16\x03\x01\x02\0",
    ] {
        let mut client = TcpStream::connect(witness.address()).await.unwrap();
        client.write_all(nonsense).await.unwrap();
        // Closed or reset, as what was sent has been read or not.
        assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_witness_needs_the_url_of_a_server() {
    for url in ["junk", "postgres:///local", "https://localhost/"] {
        StatementWitness::start(url).await.unwrap_err();
    }
}
