//! The databases on SQLite: a file that all tenants share, and one for each alone.
//!
//! There is no row-level security and no plan to read here; what is compared is the results.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow, SqliteValueRef};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _,
};
use tempfile::TempDir;
use tenantry_store::{SqliteSettings, TenantStore};
use uuid::Uuid;

use super::judge::{Databases, Outcome, Statement};
use super::rewriter::Rewritten;
use super::schema::{Schema, TENANTS};
use super::world::{Answer, Failure};

/// How often the progress of a statement is looked at, and how many looks it may take.
const STEPS: i32 = 10_000;
const LOOKS: u32 = 1_000;

pub(crate) struct Files {
    pub(crate) store: TenantStore,
    shared: File,
    alone: Vec<File>,
    before: Vec<Vec<Option<String>>>,
    contents: String,
    _folder: TempDir,
}

struct File {
    connection: SqliteConnection,
    looks: Arc<AtomicU32>,
}

impl Files {
    pub(crate) async fn open(schema: &Schema) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("shared.db");
        let mut shared = File::create(&path, schema, &[0, 1, 2]).await;
        let mut alone = Vec::new();
        for tenant in 0..TENANTS.len() {
            let path = folder.path().join(format!("alone{tenant}.db"));
            alone.push(File::create(&path, schema, &[tenant]).await);
        }
        let mut settings = SqliteSettings::file(&path);
        for table in schema.shared {
            settings = settings.with_shared_table(*table);
        }
        let store = TenantStore::sqlite(settings).await.unwrap();
        let contents = contents(&mut shared, schema).await;
        let before = shared.run(&contents, &[], None).await.unwrap();
        Self {
            store,
            before: with_tenants(before.rows),
            shared,
            alone,
            contents,
            _folder: folder,
        }
    }
}

impl Databases for Files {
    async fn alone(
        &mut self,
        tenant: usize,
        statement: &Statement,
        writes: bool,
    ) -> Result<Outcome, Failure> {
        let contents = writes.then_some(self.contents.as_str());
        self.alone[tenant]
            .attempt(&statement.text, &statement.arguments, None, contents)
            .await
    }

    async fn together(
        &mut self,
        tenant: usize,
        statement: &Statement,
        rewritten: &Rewritten,
    ) -> Result<Outcome, Failure> {
        let tenant = rewritten.binds_tenant.then_some(TENANTS[tenant]);
        let contents = Some(self.contents.as_str());
        self.shared
            .attempt(&rewritten.text, &statement.arguments, tenant, contents)
            .await
    }

    fn before(&self) -> &[Vec<Option<String>>] {
        &self.before
    }

    fn owned(&self) -> &[String] {
        &[]
    }
}

impl File {
    async fn create(path: &std::path::Path, schema: &Schema, tenants: &[usize]) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let column = match tenants {
            [tenant] => format!(
                "tenant_id blob not null default {}",
                literal(TENANTS[*tenant])
            ),
            _ => "tenant_id blob not null".to_owned(),
        };
        let mut script = schema.tables.replace("{tenant}", &column);
        for (view, query) in schema.views {
            script += &format!("; create view {view} as {query}");
        }
        for rows in (schema.common)() {
            script += &format!("; {}", rows.insert(None));
        }
        for &tenant in tenants {
            for rows in (schema.own)(tenant) {
                script += &format!("; {}", rows.insert(Some(&literal(TENANTS[tenant]))));
            }
        }
        sqlx::raw_sql(AssertSqlSafe(script))
            .execute(&mut connection)
            .await
            .unwrap();
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let mut handle = connection.lock_handle().await.unwrap();
        handle.set_progress_handler(STEPS, move || {
            counted.fetch_add(1, Ordering::Relaxed) < LOOKS
        });
        drop(handle);
        Self { connection, looks }
    }

    /// Runs a statement in a transaction that is rolled back.
    async fn attempt(
        &mut self,
        text: &str,
        arguments: &[Option<String>],
        tenant: Option<&str>,
        contents: Option<&str>,
    ) -> Result<Outcome, Failure> {
        self.run("begin", &[], None).await?;
        let outcome = self.attempt_in_tx(text, arguments, tenant, contents).await;
        // Some errors have ended the transaction already.
        let _ = self.run("rollback", &[], None).await;
        outcome
    }

    async fn attempt_in_tx(
        &mut self,
        text: &str,
        arguments: &[Option<String>],
        tenant: Option<&str>,
        contents: Option<&str>,
    ) -> Result<Outcome, Failure> {
        let before = self.changes().await?;
        let mut answer = self.run(text, arguments, tenant).await?;
        answer.affected = self.changes().await? - before;
        let contents = match contents {
            Some(contents) => with_tenants(self.run(contents, &[], None).await?.rows),
            None => Vec::new(),
        };
        Ok(Outcome {
            answer,
            contents,
            plan: serde_json::Value::Null,
        })
    }

    /// How many rows this connection has ever changed.
    async fn changes(&mut self) -> Result<u64, Failure> {
        let answer = self.run("select total_changes()", &[], None).await?;
        let changes = answer.rows[0][0].as_deref().unwrap_or_default();
        Ok(changes.trim_start_matches('#').parse().unwrap())
    }

    async fn run(
        &mut self,
        text: &str,
        arguments: &[Option<String>],
        tenant: Option<&str>,
    ) -> Result<Answer, Failure> {
        self.looks.store(0, Ordering::Relaxed);
        let mut query = sqlx::query(AssertSqlSafe(text.to_owned())).persistent(false);
        for argument in arguments {
            query = query.bind(argument);
        }
        if let Some(tenant) = tenant {
            query = query.bind(tenant.parse::<Uuid>().unwrap());
        }
        let mut answer = Answer::default();
        let mut stream = query.fetch(&mut self.connection);
        while let Some(row) = stream.try_next().await.map_err(|error| failure(&error))? {
            answer.rows.push(texts(&row));
        }
        Ok(answer)
    }
}

fn literal(tenant: &str) -> String {
    format!("x'{}'", tenant.replace('-', ""))
}

/// Returns the query for what is in the tables: the table, the tenant, and all rows in one order.
async fn contents(file: &mut File, schema: &Schema) -> String {
    let mut queries = Vec::new();
    for table in schema.owned.iter().chain(schema.shared) {
        let columns = file
            .run(&format!("pragma table_info({table})"), &[], None)
            .await
            .unwrap();
        let columns = columns.rows.iter().filter_map(|row| row[1].as_deref());
        let quoted: Vec<_> = columns.map(|name| format!("quote(\"{name}\")")).collect();
        let row = quoted.join(" || ',' || ");
        let tenant = if schema.owned.contains(table) {
            "tenant_id"
        } else {
            "null"
        };
        queries.push(format!(
            "select '{}', tenant, group_concat(line, ';') from \
             (select {tenant} as tenant, {row} as line from {table} order by 1, 2) group by tenant",
            table.replace('"', "")
        ));
    }
    queries.join(" union all ")
}

/// Writes tenants as they are written elsewhere.
fn with_tenants(mut rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    for row in &mut rows {
        if let Some(hex) = row[1].as_deref().and_then(|blob| blob.strip_prefix("x'")) {
            let tenant = hex.trim_end_matches('\'').parse::<Uuid>();
            row[1] =
                Some(tenant.map_or_else(|_| "no tenant".to_owned(), |tenant| tenant.to_string()));
        }
    }
    rows.sort();
    rows
}

fn texts(row: &SqliteRow) -> Vec<Option<String>> {
    let cells = (0..row.len()).map(|index| {
        let cell: SqliteValueRef<'_> = row.try_get_raw(index).unwrap();
        if cell.is_null() {
            return None;
        }
        let kind = cell.type_info().name().to_owned();
        Some(match kind.as_str() {
            // 1 is not '1'.
            "INTEGER" | "BOOLEAN" => {
                format!("#{}", row.try_get_unchecked::<i64, _>(index).unwrap())
            }
            "REAL" => format!("#{:?}", row.try_get_unchecked::<f64, _>(index).unwrap()),
            "BLOB" => {
                let bytes = row.try_get_unchecked::<Vec<u8>, _>(index).unwrap();
                let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("x'{}'", hex.concat())
            }
            _ => row.try_get_unchecked::<String, _>(index).unwrap(),
        })
    });
    cells.collect()
}

/// With codes as PostgreSQL has them, as far as the judge tells them apart.
fn failure(error: &sqlx::Error) -> Failure {
    let database = error.as_database_error();
    let code = database
        .and_then(|error| error.code())
        .unwrap_or_default()
        .into_owned();
    let code = match code.as_str() {
        "9" => "57014".to_owned(),
        // Whether an aggregate is misused depends on how the query is flattened.
        "1" if error.to_string().contains("misuse of aggregate") => "57014".to_owned(),
        "1" => "42000".to_owned(),
        _ => code,
    };
    Failure {
        code,
        message: error.to_string(),
    }
}
