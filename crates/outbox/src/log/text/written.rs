//! Texts as each database takes them.

use tenantry_store::own::Engine;

use super::COLUMNS;
use super::brought::ARRIVED;
use super::read::{IN_GENERATION, LEFT_BEHIND, LEFT_BEHIND_SQLITE};

/// When the server was started, in microseconds of Unix time.
const SERVER: &str = "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint";

/// Writes a text as the database takes it.
///
/// A list is read from its text by a query of its own: that is done once, and beside each row else, since a text may be
/// read in another way from one moment to the next.
pub(super) fn written(engine: Engine, text: &str) -> String {
    let p_columns: Vec<_> = COLUMNS
        .split(", ")
        .map(|column| format!("p.{column}"))
        .collect();
    let text = among(text, "{in_generation ", |generation| {
        IN_GENERATION.replace("{generation}", generation)
    });
    let text = text
        .replace("{columns}", COLUMNS)
        .replace("{content}", COLUMNS.trim_start_matches("position, "))
        .replace("{p.columns}", &p_columns.join(", "));
    match engine {
        Engine::Postgres => {
            let text = text
                .replace("{arrived}", ARRIVED)
                .replace("{left_behind}", LEFT_BEHIND)
                // All that have ended are below.
                .replace(
                    "{next_xid}",
                    "(select pg_snapshot_xmax(pg_current_snapshot()))",
                )
                .replace(
                    "{now}",
                    "(extract(epoch from clock_timestamp()) * 1000)::bigint",
                )
                .replace("{lock}", "for update skip locked")
                .replace("{keep}", "for update");
            let text = text.replace("{server}", SERVER);
            let text = among(&text, "{and_on_server ", |server| {
                format!("and {SERVER} = {server}")
            });
            // A number that no transaction had when the snapshot of the position was taken.
            let horizon = |text: &str| format!("replace({text}, '?', pg_current_xact_id()::text)");
            let text = among(&text, "{with_horizon ", horizon);
            let text = among(&text, "{of_share ", |arguments| {
                let (tenants, theirs) = arguments.split_once(' ').unwrap_or_default();
                format!(
                    "(tenant_id = any((select {tenants}::text::uuid[])::uuid[])) = {theirs}::boolean"
                )
            });
            let text = among(&text, "{of_parts ", |list| {
                format!(
                    "({list}::text is null \
                     or partition_id = any((select {list}::text::smallint[])::smallint[]))"
                )
            });
            let text = among(&text, "{among_parts ", |list| {
                format!("= any((select {list}::text::smallint[])::smallint[])")
            });
            let text = among(&text, "{verdicts ", |verdicts| {
                format!(
                    "json_to_recordset({verdicts}::text::json) as v(position bigint, state text, \
                     counts integer, wait bigint, reason text, detail text)"
                )
            });
            let text = among(&text, "{keys ", |keys| {
                format!(
                    "select * from json_to_recordset({keys}::text::json) as k(\
                     partition_id smallint, tenant_id uuid, ordering_key text)"
                )
            });
            among(&text, "{among ", |list| {
                format!("= any((select {list}::text::bigint[])::bigint[])")
            })
        }
        _ => {
            let text = text
                .replace("{arrived}", "false")
                .replace("{left_behind}", LEFT_BEHIND_SQLITE)
                .replace("{now}", "cast(unixepoch('subsec') * 1000 as integer)")
                .replace("{lock}", "")
                .replace("{keep}", "")
                .replace('$', "?");
            let text = text.replace("{server}", "0");
            let text = among(&text, "{and_on_server ", |_| String::new());
            let text = among(&text, "{with_horizon ", str::to_owned);
            let text = among(&text, "{of_share ", |arguments| {
                let (tenants, theirs) = arguments.split_once(' ').unwrap_or_default();
                format!("(hex(tenant_id) in (select value from json_each({tenants}))) = {theirs}")
            });
            let text = among(&text, "{verdicts ", |verdicts| {
                let fields = ["position", "state", "counts", "wait", "reason", "detail"];
                let fields = fields.map(|field| format!("value ->> '{field}' as {field}"));
                format!(
                    "(select {} from json_each({verdicts})) as v",
                    fields.join(", ")
                )
            });
            let text = among(&text, "{keys ", |keys| {
                format!(
                    "select value ->> 'partition_id' as partition_id, \
                     unhex(value ->> 'tenant_id') as tenant_id, \
                     value ->> 'ordering_key' as ordering_key from json_each({keys})"
                )
            });
            let listed = |list: &str| format!("in (select value from json_each({list}))");
            let of_parts = |list: &str| format!("partition_id {}", listed(list));
            let text = among(&text, "{of_parts ", of_parts);
            among(&among(&text, "{among_parts ", listed), "{among ", listed)
        }
    }
}

fn among(text: &str, token: &str, list: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(token);
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (argument, rest) = part.split_once('}').unwrap_or((part, ""));
        written.push_str(&list(argument));
        written.push_str(rest);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_for_each_database() {
        let text = "update t set a = {now} + $1 where p {among_parts $2} and n {among $3} {keep}";
        assert_eq!(
            written(Engine::Postgres, text),
            "update t set a = (extract(epoch from clock_timestamp()) * 1000)::bigint + $1 \
             where p = any((select $2::text::smallint[])::smallint[]) and n = any((select $3::text::bigint[])::bigint[]) for update"
        );
        assert_eq!(
            written(Engine::Sqlite, text),
            "update t set a = cast(unixepoch('subsec') * 1000 as integer) + ?1 \
             where p in (select value from json_each(?2)) and n in (select value from json_each(?3)) "
        );
    }
}
