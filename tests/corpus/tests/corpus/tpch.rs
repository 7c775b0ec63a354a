//! The queries of TPC-H, with the tenant first in each key.

use super::judge::Statement;
use super::schema::{Dice, Rows, Schema};

/// Nations and regions belong to nobody.
pub(crate) const SHARED: Schema = Schema {
    tables: concat!(
        "create table region (r_regionkey int primary key, r_name text not null);
         create table nation (n_nationkey int primary key, n_name text not null, n_regionkey int not null);",
        include_str!("../../sql/tpch.sql")
    ),
    views: &[],
    owned: &["supplier", "part", "partsupp", "customer", "orders", "lineitem"],
    shared: &["region", "nation"],
    common: || nations(0),
    own: rows,
};

/// Each tenant has nations and regions of its own.
pub(crate) const OWNED: Schema = Schema {
    tables: concat!(
        "create table region ({tenant}, r_regionkey int, r_name text not null,
             primary key (tenant_id, r_regionkey));
         create table nation ({tenant}, n_nationkey int, n_name text not null, n_regionkey int not null,
             primary key (tenant_id, n_nationkey));",
        include_str!("../../sql/tpch.sql")
    ),
    views: &[],
    owned: &["region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem"],
    shared: &[],
    common: Vec::new,
    own: |tenant| nations(tenant).into_iter().chain(rows(tenant)).collect(),
};

/// The 22 queries, each with whether its rows come in a fixed order, and its arguments.
pub(crate) fn queries() -> Vec<Statement> {
    macro_rules! queries {
        ($($file:literal $ordered:literal $arguments:expr;)*) => {
            vec![$(Statement {
                text: include_str!(concat!("../../sql/tpch/", $file, ".sql")).to_owned(),
                arguments: {
                    let arguments: &[&str] = &$arguments;
                    arguments.iter().map(|&text| Some(text.to_owned())).collect()
                },
                ordered: $ordered,
            }),*]
        };
    }
    queries! {
        "q01" true [];
        "q02" true ["14"];
        "q03" true ["BUILDING"];
        "q04" true [];
        "q05" false ["EUROPE"];
        "q06" true [];
        "q07" true ["FRANCE", "GERMANY"];
        "q08" true ["GERMANY"];
        "q09" true [];
        "q10" true [];
        "q11" true ["GERMANY"];
        "q12" true [];
        "q13" true [];
        "q14" true [];
        "q15" true [];
        "q16" true [];
        "q17" true [];
        "q18" true ["70"];
        "q19" true [];
        "q20" true ["INDIA"];
        "q21" true ["INDIA"];
        "q22" true [];
    }
}

const NATIONS: [&str; 6] = ["FRANCE", "GERMANY", "INDIA", "CHINA", "KENYA", "SPAIN"];
const REGIONS: [&str; 3] = ["EUROPE", "ASIA", "AFRICA"];

fn nations(tenant: usize) -> Vec<Rows> {
    let region = |nation: usize| match (nation + tenant) % 4 {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    let regions = REGIONS
        .iter()
        .enumerate()
        .map(|(key, name)| format!("{key}, '{name}'"));
    let nations = NATIONS
        .iter()
        .enumerate()
        .map(|(key, name)| format!("{key}, '{name}', {}", region(key)));
    vec![
        Rows::new("region", "r_regionkey, r_name", regions.collect()),
        Rows::new(
            "nation",
            "n_nationkey, n_name, n_regionkey",
            nations.collect(),
        ),
    ]
}

fn rows(tenant: usize) -> Vec<Rows> {
    let mut dice = Dice::new(700 + tenant as u64);
    let cents = |dice: &mut Dice, from: u64, to: u64| {
        let cents = from * 100 + dice.roll((to - from) * 100);
        format!("{}.{:02}", cents / 100, cents % 100)
    };
    let date = |dice: &mut Dice| {
        format!(
            "'{}-{:02}-{:02}'",
            1993 + dice.roll(5),
            1 + dice.roll(12),
            1 + dice.roll(28)
        )
    };
    let (suppliers, parts, customers, orders) = (7, 14 + tenant as u64, 18, 90);
    let supplier = (1..=suppliers).map(|key| {
        let comment = dice.of(&["Customer asks, Complaints follow", "quiet", "of note"]);
        format!(
            "{key}, 'Supplier {key} of {tenant}', 'street {}', {}, '1{}-555', {}, '{comment}'",
            dice.roll(99),
            dice.roll(3),
            dice.roll(5),
            cents(&mut dice, 1, 900)
        )
    });
    let supplier = supplier.collect();
    let part = (1..=parts).map(|key| {
        format!(
            "{key}, '{} {}', 'Maker#{}', '{}', '{} {}', {}, '{}', {}",
            dice.of(&["green", "blue", "red"]),
            dice.of(&["almond", "green", "linen"]),
            dice.roll(3),
            dice.of(&["Brand#12", "Brand#23", "Brand#45"]),
            dice.of(&["PROMO", "STANDARD", "MEDIUM POLISHED"]),
            dice.of(&["BRASS", "TIN"]),
            1 + dice.roll(15),
            dice.of(&["JUMBO BOX", "SM CASE"]),
            cents(&mut dice, 1, 90)
        )
    });
    let part = part.collect();
    let mut partsupp = Vec::new();
    let mut offers = Vec::new();
    for key in 1..=parts {
        let first = dice.roll(suppliers);
        for next in 0..3 {
            let supplier = (first + next) % suppliers + 1;
            offers.push((key, supplier));
            partsupp.push(format!(
                "{key}, {supplier}, {}, {}",
                100 + dice.roll(900),
                cents(&mut dice, 1, 50)
            ));
        }
    }
    let customer = (1..=customers).map(|key| {
        format!(
            "{key}, 'Customer {key} of {tenant}', 'street {}', {}, '1{}-777', {}, '{}', 'nice'",
            dice.roll(99),
            dice.roll(3),
            dice.roll(5),
            cents(&mut dice, 1, 5000),
            dice.of(&["BUILDING", "MACHINERY"])
        )
    });
    let customer = customer.collect();
    let mut order = Vec::new();
    let mut lineitem = Vec::new();
    for key in 1..=orders {
        order.push(format!(
            "{key}, {}, '{}', {}, {}, '{}', 'Clerk', 0, '{}'",
            // Every third customer has no orders.
            3 * dice.roll(customers / 3) + 1 + dice.roll(2),
            dice.of(&["F", "O", "P"]),
            cents(&mut dice, 100, 9000),
            date(&mut dice),
            dice.of(&["1-URGENT", "2-HIGH", "3-MEDIUM", "5-LOW"]),
            dice.of(&["plain", "special wishes and requests"])
        ));
        for line in 1..=(1 + dice.roll(4)) {
            let (part, supplier) = offers[usize::try_from(dice.roll(offers.len() as u64)).unwrap()];
            let (year, month, day) = (1993 + dice.roll(5), 1 + dice.roll(12), 1 + dice.roll(9));
            lineitem.push(format!(
                "{key}, {part}, {supplier}, {line}, {}, {}, 0.0{}, 0.0{}, '{}', '{}', \
                 '{year}-{month:02}-{:02}', '{year}-{month:02}-{:02}', '{year}-{month:02}-{:02}', \
                 'NONE', '{}', 'x'",
                1 + dice.roll(50),
                cents(&mut dice, 10, 2000),
                dice.roll(10),
                dice.roll(8),
                dice.of(&["R", "A", "N"]),
                dice.of(&["O", "F"]),
                day,
                day + dice.roll(9),
                day + dice.roll(9),
                dice.of(&["MAIL", "SHIP", "AIR", "RAIL"])
            ));
        }
    }
    vec![
        Rows::new(
            "supplier",
            "s_suppkey, s_name, s_address, s_nationkey, s_phone, s_acctbal, s_comment",
            supplier,
        ),
        Rows::new(
            "part",
            "p_partkey, p_name, p_mfgr, p_brand, p_type, p_size, p_container, p_retailprice",
            part,
        ),
        Rows::new(
            "partsupp",
            "ps_partkey, ps_suppkey, ps_availqty, ps_supplycost",
            partsupp,
        ),
        Rows::new(
            "customer",
            "c_custkey, c_name, c_address, c_nationkey, c_phone, c_acctbal, c_mktsegment, c_comment",
            customer,
        ),
        Rows::new(
            "orders",
            "o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment",
            order,
        ),
        Rows::new(
            "lineitem",
            "l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment",
            lineitem,
        ),
    ]
}
