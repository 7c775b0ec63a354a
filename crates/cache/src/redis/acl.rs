//! What a user of the server has to be allowed.

/// Of a connection: who the server is, and scripts.
const CONNECTION: &[&str] = &["info", "script|load", "evalsha", "time"];
/// Of the cache, most of it by its scripts.
const CACHE: &[&str] = &[
    "get",
    "mget",
    "set",
    "incr",
    "hget",
    "hmget",
    "hset",
    "hsetnx",
    "hdel",
    "pexpire",
    "pttl",
    "unlink",
    "publish",
    "subscribe",
];
/// Of the bytes of a tenant.
const BYTES: &[&str] = &[
    "memory|usage",
    "zadd",
    "zrem",
    "zincrby",
    "zrange",
    "zscore",
    "zrandmember",
];
/// Of rate limits.
const LIMITS: &[&str] = &["lindex", "llen", "lpop", "lset", "rpush", "del"];
/// Of sessions, beside those above.
const SESSIONS: &[&str] = &["exists", "pexpireat", "zrevrange", "zremrangebyscore"];

/// Returns the rules for a prefix, of which no character means something in a pattern.
pub(super) fn rules(prefix: &str, database: i64) -> String {
    let mut rules = format!("resetkeys ~{prefix}:* resetchannels &{prefix}:* -@all");
    let all = [CONNECTION, CACHE, BYTES, LIMITS, SESSIONS];
    for command in all.into_iter().flatten() {
        rules.push_str(" +");
        rules.push_str(command);
    }
    if database != 0 {
        rules.push_str(" +select");
    }
    rules
}
