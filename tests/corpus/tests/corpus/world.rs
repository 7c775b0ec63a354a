//! The databases on PostgreSQL: one that all tenants share, and one for each alone.

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgDatabaseError, PgRow};
use sqlx::{
    AssertSqlSafe, Connection as _, Either, PgConnection, Row as _, TypeInfo as _, ValueRef as _,
};
use tenantry_store::{PostgresSettings, TenantStore};
use tenantry_testkit::{PostgresServer, Roles, TestDatabase};

use super::judge::{Databases, Outcome, Statement};
use super::rewriter::Rewritten;
use super::schema::{Schema, TENANTS};

/// Connections are those of the superuser, so that row-level security has no part in any answer.
pub(crate) struct World {
    pub(crate) shared: PgConnection,
    pub(crate) alone: Vec<PgConnection>,
    pub(crate) store: TenantStore,
    pub(crate) app_url: String,
    pub(crate) app: String,
    pub(crate) owner: String,
    /// The tables with a tenant, as the plan names them.
    pub(crate) owned: Vec<String>,
    /// The contents of the tables, before anything was written.
    pub(crate) before: Vec<Vec<Option<String>>>,
    pub(crate) contents: String,
    _databases: Vec<TestDatabase>,
}

impl World {
    pub(crate) async fn open(schema: &Schema) -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let database = TestDatabase::create(server).await.unwrap();
        let Roles { owner, app, .. } = database.bootstrap().await.unwrap();

        let mut as_owner = connect(owner.url()).await;
        let tables = schema.tables.replace("{tenant}", "tenant_id uuid not null");
        must(&mut as_owner, &tables).await;
        for (view, query) in schema.views {
            let sql = format!(
                "create view {view} with (security_invoker) as {query}; grant select on {view} to {}",
                app.user()
            );
            must(&mut as_owner, &sql).await;
        }
        for table in schema.owned {
            must(
                &mut as_owner,
                &format!("select tenantry.protect('{table}')"),
            )
            .await;
        }
        for table in schema.shared {
            must(&mut as_owner, &format!("select tenantry.share('{table}')")).await;
        }

        let mut shared = connect(database.admin_url()).await;
        fill(&mut shared, schema, &[0, 1, 2]).await;
        let mut databases = vec![database];
        let mut alone = Vec::new();
        for (index, tenant) in TENANTS.iter().enumerate() {
            let database = TestDatabase::create(server).await.unwrap();
            let mut connection = connect(database.admin_url()).await;
            let column = format!("tenant_id uuid not null default '{tenant}'");
            must(&mut connection, &schema.tables.replace("{tenant}", &column)).await;
            for (view, query) in schema.views {
                must(&mut connection, &format!("create view {view} as {query}")).await;
            }
            fill(&mut connection, schema, &[index]).await;
            alone.push(connection);
            databases.push(database);
        }
        let store = TenantStore::postgres(PostgresSettings::new(app.url()))
            .await
            .unwrap();
        let owned = schema
            .owned
            .iter()
            .map(|name| name.trim_matches('"').to_owned());
        let contents = contents(schema);
        let before = must(&mut shared, &contents).await;
        Self {
            owned: owned.collect(),
            before,
            contents,
            shared,
            alone,
            store,
            app_url: app.url().to_owned(),
            app: app.user().to_owned(),
            owner: owner.user().to_owned(),
            _databases: databases,
        }
    }
}

impl Databases for World {
    async fn alone(
        &mut self,
        tenant: usize,
        statement: &Statement,
        writes: bool,
    ) -> Result<Outcome, Failure> {
        let contents = writes.then_some(self.contents.as_str());
        let arguments = &statement.arguments;
        attempt(
            &mut self.alone[tenant],
            &statement.text,
            arguments,
            contents,
            false,
        )
        .await
    }

    async fn together(
        &mut self,
        tenant: usize,
        statement: &Statement,
        rewritten: &Rewritten,
    ) -> Result<Outcome, Failure> {
        let mut arguments = statement.arguments.clone();
        if rewritten.binds_tenant {
            arguments.push(Some(TENANTS[tenant].to_owned()));
        }
        // A statement that says of itself that it writes nothing is not believed.
        let contents = Some(self.contents.as_str());
        attempt(
            &mut self.shared,
            &rewritten.text,
            &arguments,
            contents,
            true,
        )
        .await
    }

    fn before(&self) -> &[Vec<Option<String>>] {
        &self.before
    }

    fn owned(&self) -> &[String] {
        &self.owned
    }
}

async fn fill(connection: &mut PgConnection, schema: &Schema, tenants: &[usize]) {
    for rows in (schema.common)() {
        must(connection, &rows.insert(None)).await;
    }
    for &tenant in tenants {
        for rows in (schema.own)(tenant) {
            let sql = rows.insert(Some(&format!("'{}'", TENANTS[tenant])));
            must(connection, &sql).await;
        }
    }
    must(connection, "analyze").await;
}

/// Returns the query for what is in the tables: the table, the tenant, how many rows, and a digest.
fn contents(schema: &Schema) -> String {
    let digest =
        "count(*), md5(string_agg(the_row::text, chr(10) order by the_row::text collate \"C\"))";
    let owned = schema.owned.iter().map(|table| {
        format!(
            "select '{table}', tenant_id::text, {digest} from {table} the_row group by tenant_id"
        )
    });
    let shared = schema
        .shared
        .iter()
        .map(|table| format!("select '{table}', null, {digest} from {table} the_row"));
    let all: Vec<_> = owned.chain(shared).collect();
    format!("{} order by 1, 2", all.join(" union all "))
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.unwrap();
    // No statement of the corpus needs long, but a generated one may multiply its tables.
    must(
        &mut connection,
        "set statement_timeout = '10s'; set client_min_messages = error; set jit = off",
    )
    .await;
    connection
}

/// Runs a statement in a transaction that is rolled back.
async fn attempt(
    connection: &mut PgConnection,
    text: &str,
    arguments: &[Option<String>],
    contents: Option<&str>,
    explain: bool,
) -> Result<Outcome, Failure> {
    let text = text.trim_ascii_end().trim_end_matches(';');
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| match argument {
            Some(argument) => format!("'{}'", argument.replace('\'', "''")),
            None => "null".to_owned(),
        })
        .collect();
    let execute = if arguments.is_empty() {
        "execute judged".to_owned()
    } else {
        format!("execute judged ({})", arguments.join(", "))
    };
    let explained = if explain {
        format!("explain (verbose, costs off, format json) {execute}; ")
    } else {
        String::new()
    };
    // A transaction that has written has a number.
    let script = format!(
        "begin; deallocate all; prepare judged as {text}\n; {explained}{execute}; \
         select pg_current_xact_id_if_assigned()::text"
    );
    let answers = match run(connection, script).await {
        Ok(answers) => answers,
        Err(failure) => {
            must(connection, "rollback").await;
            return Err(failure);
        }
    };
    let mut answers = answers.into_iter().skip(3);
    let plan = if explain {
        let plan = answers.next().unwrap_or_default();
        let text = plan.rows.first().and_then(|row| row[0].clone());
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    } else {
        serde_json::Value::Null
    };
    let answer = answers.next().unwrap_or_default();
    let written = answers
        .next()
        .is_some_and(|answer| answer.rows[0][0].is_some());
    let contents = match contents {
        Some(contents) if written => must(connection, contents).await,
        _ => Vec::new(),
    };
    must(connection, "rollback").await;
    Ok(Outcome {
        answer,
        plan,
        contents,
    })
}

/// What the server refused a statement with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What one statement of several answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Vec<Option<String>>>,
    pub(crate) affected: u64,
}

/// Runs statements that are separated by semicolons, and returns what each of them answered.
pub(crate) async fn run(
    connection: &mut PgConnection,
    sql: String,
) -> Result<Vec<Answer>, Failure> {
    let mut answers = Vec::new();
    let mut rows = Vec::new();
    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    loop {
        match stream.try_next().await {
            Ok(Some(Either::Left(result))) => answers.push(Answer {
                rows: std::mem::take(&mut rows),
                affected: result.rows_affected(),
            }),
            Ok(Some(Either::Right(row))) => rows.push(texts(&row)),
            Ok(None) => return Ok(answers),
            Err(error) => return Err(failure(&error)),
        }
    }
}

/// Runs statements that cannot fail, and returns the rows of the last.
pub(crate) async fn must(connection: &mut PgConnection, sql: &str) -> Vec<Vec<Option<String>>> {
    match run(connection, sql.to_owned()).await {
        Ok(mut answers) => answers.pop().unwrap_or_default().rows,
        Err(failure) => panic!("{} {} in {sql}", failure.code, failure.message),
    }
}

fn texts(row: &PgRow) -> Vec<Option<String>> {
    let cells = (0..row.len()).map(|index| {
        let cell = row.try_get_raw(index).unwrap();
        // The simple protocol answers in text, whatever the type.
        let text = cell.as_str().ok()?;
        // Of equal numbers `max` answers any, and they may differ in how they are written.
        let is_written_at_length = cell.type_info().name() == "NUMERIC" && text.contains('.');
        Some(match is_written_at_length {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        })
    });
    cells.collect()
}

fn failure(error: &sqlx::Error) -> Failure {
    let Some(database) = error.as_database_error() else {
        return Failure {
            code: "driver".to_owned(),
            message: error.to_string(),
        };
    };
    let error = database.downcast_ref::<PgDatabaseError>();
    Failure {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
    }
}
