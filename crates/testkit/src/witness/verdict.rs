//! Whether a statement keeps to a tenant, by its text and the catalog.

use super::catalog::{Catalog, Standing};
use super::frontend::Arguments;
use super::reading::{Operand, Scope, Sentence};

/// What is found of a statement before its arguments are known.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// It reaches a protected table.
    pub(super) is_on_tenants: bool,
    /// It names a table that is not there, or was not when the catalog was read.
    pub(super) has_unknown: bool,
    pub(super) faults: Vec<Fault>,
    /// The arguments that have to be the tenant, each with the table that it is for.
    pub(super) parameters: Vec<(String, usize)>,
}

/// Why a statement does not keep to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) table: String,
    pub(super) reason: String,
}

impl Verdict {
    pub(super) fn of(sentence: &Sentence, catalog: &Catalog) -> Self {
        let mut verdict = Self::default();
        let is_protected = |name: &_| {
            matches!(
                catalog.standing(name),
                Standing::Protected | Standing::WithoutTenant
            )
        };
        verdict.has_unknown = sentence
            .tables()
            .any(|name| catalog.standing(name) == Standing::Unknown);
        for level in &sentence.levels {
            for (table, scope) in level.scopes(is_protected) {
                match scope {
                    _ if catalog.standing(table) == Standing::WithoutTenant => {
                        verdict.fault(&table.to_string(), "it is a view without `tenant_id`");
                    }
                    Scope::Parameters(numbers) => verdict.bind(&table.to_string(), numbers),
                    Scope::Unscoped(reason) => verdict.fault(&table.to_string(), reason),
                }
            }
        }
        for write in sentence
            .writes
            .iter()
            .filter(|write| is_protected(&write.table))
        {
            let table = write.table.to_string();
            match &write.tenants {
                Ok(tenants) => verdict.bind(&table, tenants.iter().filter_map(number)),
                Err(reason) => verdict.fault(&table, reason),
            }
        }
        for name in sentence.unplaced.iter().filter(|name| is_protected(name)) {
            let reason = "it is named where a table was not expected";
            verdict.fault(&name.to_string(), reason);
        }
        for function in &sentence.calls {
            if let Some(table) = catalog.table_behind(function) {
                let reason = format!("the function `{function}` names it, and binds no tenant");
                verdict.fault(table, &reason);
            }
        }
        for column in &sentence.columns {
            if let Some(table) = catalog.table_behind_column(column) {
                let reason = format!("the function `{column}` of a row names it");
                verdict.fault(table, &reason);
            }
        }
        if let Some(obscure) = &sentence.obscure {
            let mut words = obscure.words.iter();
            let named = catalog
                .protected_among(&obscure.words)
                .or_else(|| words.find_map(|word| catalog.table_behind(word)));
            match named {
                Some(table) => verdict.fault(table, &obscure.reason),
                None if obscure.hides_names => verdict.fault("?", &obscure.reason),
                None => {}
            }
        }
        verdict
    }

    fn fault(&mut self, table: &str, reason: &str) {
        self.is_on_tenants = true;
        self.faults.push(Fault {
            table: table.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn bind(&mut self, table: &str, numbers: impl IntoIterator<Item = usize>) {
        self.is_on_tenants = true;
        for number in numbers {
            let parameter = (table.to_owned(), number);
            if !self.parameters.contains(&parameter) {
                self.parameters.push(parameter);
            }
        }
    }
}

fn number(tenant: &Operand) -> Option<usize> {
    match tenant {
        Operand::Parameter(number) => Some(*number),
        Operand::Literal(_) | Operand::Other => None,
    }
}

/// Returns the tenant that an operand stands for, if it is one.
pub(super) fn tenant(operand: &Operand, arguments: Option<&Arguments>) -> Option<uuid::Uuid> {
    match operand {
        Operand::Parameter(number) => {
            let (bytes, is_binary) = arguments?.get(*number)?;
            match <[u8; 16]>::try_from(bytes) {
                // A UUID as text is longer.
                Ok(bytes) if is_binary => Some(uuid::Uuid::from_bytes(bytes)),
                _ => uuid::Uuid::try_parse_ascii(bytes).ok(),
            }
        }
        Operand::Literal(text) => text.parse().ok(),
        Operand::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::frontend::Text;
    use crate::witness::reading::read;

    fn verdicts(sql: &str) -> Vec<Verdict> {
        let catalog = Catalog::of(
            &["invoices", "customers", "Odd name"],
            &["every_invoice"],
            &["countries"],
            &[("count_invoices", "invoices")],
        );
        read(&Text::Whole(sql.to_owned()))
            .sentences
            .iter()
            .map(|sentence| Verdict::of(sentence, &catalog))
            .collect()
    }

    fn faults(sql: &str) -> Vec<Fault> {
        let verdicts = verdicts(sql);
        verdicts
            .into_iter()
            .flat_map(|found| found.faults)
            .collect()
    }

    #[test]
    fn what_binds_every_table_passes() {
        for (sql, expected) in [
            ("select id from invoices where tenant_id = $1", "invoices=1"),
            ("select from INVOICES where TENANT_ID = $1", "invoices=1"),
            (
                r#"select from public."invoices" where "tenant_id" = $2"#,
                "public.invoices=2",
            ),
            (
                "select from invoices i where ($1)::uuid = (i.tenant_id) and (a or b)",
                "invoices=1",
            ),
            (
                "select from invoices where public.invoices.tenant_id = $1",
                "invoices=1",
            ),
            (
                "select from invoices i join customers c on c.tenant_id = $1 and c.id = i.c
                 where i.tenant_id = $1",
                "invoices=1 customers=1",
            ),
            (
                "select from invoices i, customers c
                 where c.tenant_id = i.tenant_id and $3 = c.tenant_id",
                "invoices=3 customers=3",
            ),
            (
                "select from invoices i left join customers c
                 on c.tenant_id = i.tenant_id and c.id = i.c where i.tenant_id = $1",
                "invoices=1 customers=1",
            ),
            (
                "select from invoices i left join customers c on c.tenant_id = $2
                 where i.tenant_id = $1",
                "invoices=1 customers=2",
            ),
            (
                "select from customers c right join invoices i on c.tenant_id = $2
                 where i.tenant_id = $1",
                "customers=2 invoices=1",
            ),
            (
                "select from invoices join customers using (tenant_id, id) where tenant_id = $1",
                "invoices=1 customers=1",
            ),
            (
                "select from invoices i left join customers using (id, tenant_id)
                 where i.tenant_id = $1",
                "invoices=1 customers=1",
            ),
            (
                "select from invoices i full join customers c on c.id = i.c
                 where i.tenant_id = $1 and c.tenant_id = $1",
                "invoices=1 customers=1",
            ),
            (
                "select from countries join invoices on tenant_id = $1",
                "invoices=1",
            ),
            (
                "select (select count(*) from customers where tenant_id = $1) from invoices
                 where tenant_id = $1 and exists (select from customers c where c.tenant_id = $2)",
                "invoices=1 customers=1 customers=2",
            ),
            (
                "select from invoices where tenant_id = $1
                 union all select from customers where tenant_id = $2",
                "invoices=1 customers=2",
            ),
            (
                "with invoices as (select 1 as id) select id from invoices",
                "",
            ),
            (
                "with recursive tree as (
                     select id from invoices where tenant_id = $1
                     union all
                     select i.id from invoices i, tree where i.tenant_id = $1 and i.up = tree.id)
                 select from tree",
                "invoices=1",
            ),
            (
                "WITH picked AS MATERIALIZED (SELECT id FROM invoices WHERE tenant_id = $1
                 ORDER BY id LIMIT 5 FOR UPDATE) UPDATE invoices AS target SET a = $2 FROM picked
                 WHERE target.tenant_id = $1 AND target.id = picked.id RETURNING target.id",
                "invoices=1",
            ),
            (
                "with picked as (select 1 as id) delete from invoices as target using picked
                 where target.tenant_id = $1 and target.id = picked.id",
                "invoices=1",
            ),
            (
                "insert into invoices (id, tenant_id) values ($1, $2), ($3, $4::uuid)",
                "invoices=2 invoices=4",
            ),
            (
                "insert into invoices as target (tenant_id, id) values ($1, $2)
                 on conflict (tenant_id, id) do update set a = excluded.a
                 where target.tenant_id = $1 returning a",
                "invoices=1",
            ),
            (
                "insert into invoices (tenant_id, id) values ($1, $2)
                 on conflict on constraint one do update set a = 1 where invoices.tenant_id = $3",
                "invoices=3 invoices=1",
            ),
            (
                "insert into invoices (tenant_id, id) select $1, c0 from unnest($2::int8[]) as input(c0)",
                "invoices=1",
            ),
            (
                "insert into invoices (id, total, tenant_id) select *, $1 from unnest($2::int8[], $3::int8[]) as input (a, b)",
                "invoices=1",
            ),
            (
                "update invoices set tenant_id = $1 where tenant_id = $2",
                "invoices=2 invoices=1",
            ),
            (
                "select read.* from pg_catalog.set_config('tenantry.tenant_id', $1::text, true)
                 as entered (tenant) cross join lateral (select own.* from (select id from invoices
                 where tenant_id = $1) as own where entered.tenant is not null offset 0) as read",
                "invoices=1",
            ),
            (
                "explain (analyze) select from invoices where tenant_id = $1",
                "invoices=1",
            ),
            (
                "declare some cursor for select from invoices where tenant_id = $1",
                "invoices=1",
            ),
            (
                "merge into invoices i using (select $2::int as id) as new
                 on i.tenant_id = $1 and i.id = new.id
                 when matched then update set a = 1
                 when not matched then insert (tenant_id, id) values ($1, new.id)",
                "invoices=1",
            ),
            (
                r#"select from "Odd name" where tenant_id = $1"#,
                "Odd name=1",
            ),
        ] {
            let verdicts = verdicts(sql);
            let faults: Vec<_> = verdicts.iter().flat_map(|found| &found.faults).collect();
            assert!(faults.is_empty(), "{sql}\n{faults:?}");
            let bound: Vec<String> = verdicts
                .iter()
                .flat_map(|found| &found.parameters)
                .map(|(table, number)| format!("{table}={number}"))
                .collect();
            assert_eq!(bound.join(" "), expected, "{sql}");
        }
    }

    #[test]
    fn what_names_no_protected_table_is_let_be() {
        for sql in [
            "select 1; select now(); ; set statement_timeout = 5",
            "select from countries; delete from countries",
            "select from pg_class; select from information_schema.tables",
            "select * from tenantry.settings",
            "select from nowhere; this is no statement",
            r#"select from "Invoices""#,
            "create temporary table spare (id int)",
            "begin isolation level repeatable read read only; savepoint one; rollback to one; end",
        ] {
            assert_eq!(faults(sql), [], "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_shown_to_be_bound_is_a_fault() {
        for (sql, tables) in [
            ("select from invoices", "invoices"),
            ("select from invoices where id = $1", "invoices"),
            ("update invoices set a = 1 where id = $1", "invoices"),
            ("delete from invoices where id = $1", "invoices"),
            ("table invoices", "invoices"),
            // The other side of a join.
            (
                "select from invoices i join customers c on c.id = i.c where i.tenant_id = $1",
                "customers",
            ),
            (
                "select from invoices i, customers c where i.tenant_id = $1",
                "customers",
            ),
            (
                "select from invoices i, customers c where tenant_id = $1",
                "invoices customers",
            ),
            (
                "select from invoices i, invoices j where i.tenant_id = $1",
                "invoices",
            ),
            (
                "select from invoices i natural join customers c where i.tenant_id = $1",
                "customers",
            ),
            (
                "update invoices i set a = c.a from customers c where i.tenant_id = $1",
                "customers",
            ),
            (
                "delete from invoices i using customers c where c.tenant_id = $1",
                "invoices",
            ),
            // The wrong side of an outer join.
            (
                "select from invoices i left join customers c on i.tenant_id = $1 and c.tenant_id = $1",
                "invoices",
            ),
            (
                "select from invoices i left join customers c on c.tenant_id = i.tenant_id where c.tenant_id = $1",
                "invoices",
            ),
            (
                "select from customers c right join invoices i on i.tenant_id = $1 and c.tenant_id = $1",
                "invoices",
            ),
            (
                "select from invoices i full join customers c on i.tenant_id = $1 and c.tenant_id = $1",
                "invoices customers",
            ),
            (
                "select from invoices i full join customers c using (tenant_id) where i.tenant_id = $1",
                "customers",
            ),
            (
                "select from countries left join (invoices i join customers c on i.tenant_id = $1)
                 using (tenant_id) join invoices j using (tenant_id)",
                "customers invoices",
            ),
            // No conjunct, or none that compares with a parameter.
            (
                "select from invoices where tenant_id = $1 or id = $2",
                "invoices",
            ),
            ("select from invoices where not tenant_id = $1", "invoices"),
            ("select from invoices where tenant_id <> $1", "invoices"),
            (
                "select from invoices where (tenant_id = $1) is not false",
                "invoices",
            ),
            (
                "select from invoices where tenant_id = $1 = true",
                "invoices",
            ),
            ("select from invoices where tenant_id in ($1)", "invoices"),
            (
                "select from invoices where tenant_id = any ($1)",
                "invoices",
            ),
            (
                "select from invoices where tenant_id = tenant_id",
                "invoices",
            ),
            (
                "select from invoices where other_tenant_id = $1",
                "invoices",
            ),
            (r#"select from invoices where "TENANT_ID" = $1"#, "invoices"),
            (
                "select from invoices where tenant_id = '6f1c8a52-7a0c-4f2e-9d3b-0c1d2e3f4a5b'",
                "invoices",
            ),
            (
                "select from invoices where tenant_id = current_setting('tenantry.tenant_id')::uuid",
                "invoices",
            ),
            (
                "select from invoices where coalesce(tenant_id, $1) = $1",
                "invoices",
            ),
            ("select tenant_id = $1 from invoices", "invoices"),
            (
                "select id from invoices group by id, tenant_id having tenant_id = $1",
                "invoices",
            ),
            // Another level.
            (
                "select from (select * from invoices) i where i.tenant_id = $1",
                "invoices",
            ),
            (
                "select from invoices where tenant_id = $1 and id in (select id from customers)",
                "customers",
            ),
            ("select (select count(*) from invoices)", "invoices"),
            (
                "select from countries order by (select count(*) from invoices)",
                "invoices",
            ),
            (
                "select from countries limit (select count(*) from invoices)",
                "invoices",
            ),
            (
                "select from countries a join countries b on exists (select from invoices)",
                "invoices",
            ),
            (
                "select from unnest(array(select id from invoices)) as some (id)",
                "invoices",
            ),
            (
                "select count(*) filter (where exists (select from invoices)) from countries",
                "invoices",
            ),
            ("values ((select count(*) from invoices))", "invoices"),
            (
                "select from invoices where tenant_id = $1 union select from customers",
                "customers",
            ),
            ("insert into countries select id from invoices", "invoices"),
            (
                "insert into countries values (1) returning (select count(*) from invoices)",
                "invoices",
            ),
            (
                "update countries set a = (select count(*) from invoices)",
                "invoices",
            ),
            (
                "insert into countries values (1) on conflict (id)
                 do update set a = (select count(*) from invoices)",
                "invoices",
            ),
            (
                "select from invoices i where i.tenant_id = $1
                 and exists (select from customers c where c.tenant_id = i.tenant_id)",
                "customers",
            ),
            (
                "select from invoices i where exists (select from countries where i.tenant_id = $1)",
                "invoices",
            ),
            (
                "select from invoices i where exists (select from customers where tenant_id = $1)",
                "invoices",
            ),
            // Names that stand for something else than it seems.
            (
                "with invoices as (select * from invoices) select from invoices",
                "invoices",
            ),
            (
                "with invoices as (select 1 as id) delete from invoices",
                "invoices",
            ),
            (
                "with invoices as (select 1 as id) select from public.invoices",
                "public.invoices",
            ),
            (
                "select from (with invoices as (select 1) select from invoices) i, invoices",
                "invoices",
            ),
            (
                "with one as (select 1), two as (delete from invoices returning id) select from two",
                "invoices",
            ),
            (
                "select from invoices as i (id, tenant_id) where tenant_id = $1",
                "invoices",
            ),
            (
                "select from invoices customers where invoices.tenant_id = $1",
                "invoices",
            ),
            (
                "select from public.invoices, other.invoices where invoices.tenant_id = $1",
                "public.invoices",
            ),
            (r#"select from U&"inv\006fices""#, "?"),
            (
                "select from every_invoice where tenant_id = $1",
                "every_invoice",
            ),
            // What is stored.
            ("insert into invoices values ($1, $2)", "invoices"),
            ("insert into invoices (id) values ($1)", "invoices"),
            (
                "insert into invoices (tenant_id, id) values ($1, 1), (gen_random_uuid(), 2)",
                "invoices",
            ),
            (
                "insert into invoices (tenant_id) values ('6f1c8a52-7a0c-4f2e-9d3b-0c1d2e3f4a5b')",
                "invoices",
            ),
            (
                "insert into invoices (tenant_id, id, total) select $1, * from countries union all
                 select *, $1 from countries",
                "invoices",
            ),
            (
                "insert into invoices (tenant_id, id) select * from countries",
                "invoices",
            ),
            (
                "insert into invoices (tenant_id, id) select $1, 1 union select a, 2 from countries",
                "invoices",
            ),
            ("insert into invoices default values", "invoices"),
            (
                "insert into invoices (tenant_id, id) values ($1, $2)
                 on conflict on constraint one do update set a = 1",
                "invoices",
            ),
            (
                "insert into invoices (tenant_id, id) values ($1, $2)
                 on conflict (tenant_id) do update set tenant_id = gen_random_uuid()",
                "invoices",
            ),
            (
                "update invoices set tenant_id = gen_random_uuid() where tenant_id = $1",
                "invoices",
            ),
            (
                "update invoices set (id, tenant_id) = (1, $1) where tenant_id = $1",
                "invoices",
            ),
            // Merges.
            (
                "merge into invoices i using customers c on i.tenant_id = $1 and c.tenant_id = $1
                 when matched then delete",
                "customers",
            ),
            (
                "merge into invoices i using countries c on i.tenant_id = $1
                 when not matched by source then delete",
                "invoices",
            ),
            (
                "merge into invoices i using countries c on i.tenant_id = $1
                 when not matched then insert (id) values (1)",
                "invoices",
            ),
            // Kinds of statements that bind nothing, or hide what they do.
            ("explain analyze delete from invoices", "invoices"),
            ("declare some cursor for select from invoices", "invoices"),
            (
                "prepare one as select from invoices where tenant_id = $1",
                "invoices",
            ),
            ("copy invoices to stdout", "invoices"),
            ("copy (select * from invoices) to stdout", "invoices"),
            ("truncate invoices", "invoices"),
            ("lock table invoices", "invoices"),
            ("do $$ begin delete from invoices; end $$", "invoices"),
            ("create view own as select * from invoices", "invoices"),
            ("create table copied as table invoices", "invoices"),
            ("select count_invoices()", "invoices"),
            ("select from count_invoices() as counted", "invoices"),
            ("selec from invoices", "invoices"),
            (
                "select from invoices where tenant_id = $1 some nonsense",
                "invoices",
            ),
            ("select 'unfinished from invoices", "invoices"),
            ("select 1; delete from invoices; select 2", "invoices"),
        ] {
            let found: Vec<String> = faults(sql).into_iter().map(|fault| fault.table).collect();
            assert_eq!(found.join(" "), tables, "{sql}");
        }
    }

    /// `only` is a word of the grammar and no table with an alias.
    #[test]
    fn a_table_without_its_children_is_a_table() {
        for sql in [
            "select from only invoices",
            "select from only (invoices)",
            "select from ONLY/**/(public . invoices) i",
            "select from countries, only invoices",
            "select from countries cross join only invoices",
            "select from countries cross join only (invoices) as i",
            "select from countries cross join lateral (select from only invoices) i",
            "select from (only invoices i cross join countries)",
            "with i as (select from only invoices) select from i",
            "with i as (delete from only invoices returning id) select from i",
            "with only_one as (table only invoices) table only_one",
            "table only invoices",
            "table only (invoices)",
            "update only invoices set a = 1",
            "update only (invoices) as i set a = 1",
            "update countries set a = 1 from only invoices",
            "delete from only invoices",
            "delete from only (invoices)",
            "delete from countries using only invoices",
            "merge into only invoices i using countries c on true when matched then delete",
            "merge into countries c using only invoices i on true when matched then delete",
            r#"select from only "Odd name""#,
            r#"table "Odd name""#,
            r#"with only as (select 1) select from only invoices"#,
            "truncate only invoices",
            "lock table only invoices",
        ] {
            assert!(!faults(sql).is_empty(), "{sql}");
        }
        for sql in [
            "select from only invoices where tenant_id = $1",
            "select from only (invoices) i where i.tenant_id = $1",
            "update only invoices set a = 1 where tenant_id = $1",
            "delete from only (invoices) where tenant_id = $1",
            "select id from invoices where tenant_id = $1 fetch first 1 rows only for update",
            r#"select from "only" invoices"#,
            "select 1 as only, 2 only from countries",
            "select from current_date, invoices where tenant_id = $1",
        ] {
            assert_eq!(faults(sql), [], "{sql}");
        }
    }

    #[test]
    fn a_word_of_the_grammar_is_no_table() {
        for sql in [
            "select from lateral invoices",
            "select from only lateral invoices",
            "select from table invoices",
            "select from rows from (invoices)",
            "select from select invoices",
            "update table invoices set a = 1",
            "delete from like invoices",
            "insert into returning select * from invoices where tenant_id = $1",
        ] {
            assert!(!faults(sql).is_empty(), "{sql}");
        }
    }

    /// Text that the server runs, or a name that it looks up, inside a text.
    #[test]
    fn a_query_in_a_text_is_a_fault() {
        for sql in [
            "select query_to_xml('select * from invoices', true, true, '')",
            "select query_to_xml($1, true, true, '')",
            "select pg_catalog.\"query_to_xml\"('select from inv' || 'oices', true, true, '')",
            "select from query_to_xml_and_xmlschema('select from invoices', true, true, '') x",
            "select from lateral query_to_xml('select from invoices', true, true, '') x",
            "select from rows from (query_to_xml('select from ' || $1, true, true, ''))",
            "select table_to_xml('invoices', true, true, '')",
            "select table_to_xml(16384, true, true, '')",
            "select schema_to_xml('public', true, true, '')",
            "select database_to_xml(true, true, '')",
            "select cursor_to_xml('c', 1, true, true, '')",
            "select word from ts_stat('select body from invoices')",
            "select ('select body from invoices'::text).ts_stat",
            "select ts_rewrite('a'::tsquery, 'select a, b from invoices')",
            "select from dblink('…', 'select from invoices') as t (a int)",
            "select dblink_exec('…', 'delete from ' || 'invoices')",
            "select from crosstab('select from invoices') as t (a int)",
            "copy (select query_to_xml('select from inv' || 'oices', true, true, '')) to stdout",
            "do $$ begin execute 'select from inv' || 'oices'; end $$",
            "do $$ begin perform query_to_xml('select from ' || 'inv' || 'oices', true, true, ''); end $$",
            "do $$ begin perform count_invoices(); end $$",
            "do 'begin delete from inv'\n'oices; end'",
            "do U&'begin delete from inv!006fices; end' uescape '!'",
            r"do E'begin delete from inv\x6fices; end'",
            r"do U&'begin delete from inv\006fices; end'",
            r#"do $$ begin delete from U&"inv\006fices"; end $$"#,
            r#"do $$ begin delete from "Odd name"; end $$"#,
            "do language plperl $$ spi_exec_query('select from inv' . 'oices') $$",
            "do $$ spi_exec_query('select from inv' . 'oices') $$ language 'plperl'",
            "call count_invoices()",
            "select from rows from (count_invoices())",
            "select c.count_invoices from countries c",
            "select from countries c where public.c.count_invoices > 0",
            "select from countries c order by c.COUNT_INVOICES",
            "select (c).count_invoices from countries c",
            "select (c.name).count_invoices from countries c",
            "select (select c from countries c).count_invoices",
            "select (array[c])[1].count_invoices from countries c",
            "update countries c set a = (c).count_invoices",
            "select ($1::countries).count_invoices",
            "select $1.count_invoices",
            "select (c).region.count_invoices from countries c",
            r#"select ((c)."count_invoices") from countries c"#,
            "select (row(1)::countries).count_invoices",
            "select from countries c group by c.count_invoices",
            "select from countries c join countries d on c.count_invoices = d.id",
            "select from countries c, lateral (select c.count_invoices) d",
            "select from countries c, unnest(array[c.count_invoices]) d",
            "insert into countries as c values (1) returning c.count_invoices",
            "delete from countries c where (c).count_invoices = 0",
            "select now(), lower(query_to_xml($1, true, true, '')::text)",
            "select from countries limit (select length(query_to_xml($1, true, true, '')::text))",
            "select from f(a => query_to_xml($1, true, true, ''))",
            "select format(variadic array[query_to_xml($1, true, true, '')::text])",
            "insert into countries values (query_to_xml($1, true, true, ''))",
            "values (query_to_xml(query => $1, nulls => true, tableforest => true, targetns => ''))",
            "select from xmltable('a' passing query_to_xml($1, true, true, '') columns b int) x",
            "declare c cursor for select query_to_xml($1, true, true, '')",
            "explain analyze select query_to_xml($1, true, true, '')",
            "prepare p as select query_to_xml($1, true, true, '')",
            "create temporary table c as select query_to_xml($1, true, true, '')",
            "select count(*) filter (where query_to_xml($1, true, true, '') is null) from countries",
            "select sum(1) over (order by query_to_xml($1, true, true, '')::text) from countries",
        ] {
            assert!(!faults(sql).is_empty(), "{sql}");
        }
        for sql in [
            "select ts_rewrite('a'::tsquery, 'a'::tsquery, 'b'::tsquery)",
            "select 'query_to_xml' as count_invoices from countries",
            "do $$ begin perform 1; end $$",
            "do language plpgsql $$ begin perform 1; end $$",
            "select (c).name, c.name from countries c",
        ] {
            assert_eq!(faults(sql), [], "{sql}");
        }
    }

    #[test]
    fn a_deep_statement_ends_no_reader() {
        let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        verdicts(&nested);
        let below = "select * from (".repeat(500) + "invoices" + &")".repeat(500);
        assert_ne!(faults(&below), []);
    }
}
