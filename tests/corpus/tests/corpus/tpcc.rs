//! The statements of TPC-C's transactions, with the tenant first in each key.

use super::judge::Statement;
use super::schema::{Dice, Rows, Schema};

pub(crate) const SCHEMA: Schema = Schema {
    tables: include_str!("../../sql/tpcc.sql"),
    views: &[],
    owned: &[
        "warehouse",
        "district",
        "customer",
        "history",
        "item",
        "stock",
        "oorder",
        "new_order",
        "order_line",
    ],
    shared: &[],
    common: Vec::new,
    own: rows,
};

/// The statements of all five transactions.
pub(crate) fn statements() -> Vec<Statement> {
    let files = [
        include_str!("../../sql/tpcc/new_order.sql"),
        include_str!("../../sql/tpcc/payment.sql"),
        include_str!("../../sql/tpcc/order_status.sql"),
        include_str!("../../sql/tpcc/delivery.sql"),
        include_str!("../../sql/tpcc/stock_level.sql"),
    ];
    files.iter().flat_map(|file| annotated(file)).collect()
}

/// Reads statements that are each headed by `-- what it does: argument, argument`.
fn annotated(file: &str) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    for line in file.lines() {
        if let Some(heading) = line.strip_prefix("-- ") {
            let (_, arguments) = heading.rsplit_once(": ").unwrap();
            statements.push(Statement {
                text: String::new(),
                arguments: arguments
                    .split(", ")
                    .map(|text| Some(text.to_owned()))
                    .collect(),
                ordered: false,
            });
        } else {
            let statement = statements.last_mut().unwrap();
            statement.text += line;
            statement.text += "\n";
        }
    }
    statements
}

fn rows(tenant: usize) -> Vec<Rows> {
    let mut dice = Dice::new(900 + tenant as u64);
    let mut tables: [Vec<String>; 9] = Default::default();
    let [
        warehouse,
        district,
        customer,
        history,
        item,
        stock,
        oorder,
        new_order,
        order_line,
    ] = &mut tables;
    for id in 1..=10 {
        item.push(format!(
            "{id}, 'item {id} of {tenant}', {}.{tenant}5, 'data'",
            1 + dice.roll(90)
        ));
    }
    for w in 1..=2 {
        warehouse.push(format!(
            "{w}, 'w{w} of {tenant}', 'street', 'city', 0.0{}, {}00",
            dice.roll(9),
            dice.roll(99)
        ));
        for id in 1..=10 {
            stock.push(format!(
                "{w}, {id}, {}, 'd1 {tenant}', 'd2', 0, 0, 0, 'data'",
                10 + dice.roll(90)
            ));
        }
        for d in 1..=3 {
            let orders = 6 + 2 * tenant as u64 + dice.roll(2);
            district.push(format!(
                "{w}, {d}, 'd{d} of {tenant}', 'street', 'city', 0.0{}, {}, {}",
                dice.roll(9),
                dice.roll(999),
                orders + 1
            ));
            for c in 1..=5 {
                customer.push(format!(
                    "{w}, {d}, {c}, 'first {}', 'OE', '{}', 'street', 'city', '{}', 0.{}, {}.{tenant}, 10, 1, 0, 'data {tenant}'",
                    dice.roll(50), dice.of(&["OUGHT", "ABLE"]), dice.of(&["GC", "BC"]),
                    dice.roll(5), dice.roll(900)
                ));
                history.push(format!(
                    "{c}, {d}, {w}, {d}, {w}, '2024-01-0{}', {}.00, 'of {tenant}'",
                    1 + dice.roll(9),
                    dice.roll(90)
                ));
            }
            for o in 1..=orders {
                let carrier = if o > 3 {
                    "null".to_owned()
                } else {
                    (1 + dice.roll(9)).to_string()
                };
                let lines = 1 + dice.roll(4);
                oorder.push(format!(
                    "{w}, {d}, {o}, {}, '2024-02-0{}', {carrier}, {lines}, 1",
                    1 + (o + tenant as u64) % 5,
                    1 + dice.roll(9)
                ));
                // The oldest is another one for each tenant.
                if o > 3 + tenant as u64 {
                    new_order.push(format!("{w}, {d}, {o}"));
                }
                for line in 1..=lines {
                    order_line.push(format!(
                        "{w}, {d}, {o}, {line}, {}, {w}, null, {}, {}.{tenant}5, 'dist'",
                        1 + dice.roll(10),
                        1 + dice.roll(9),
                        dice.roll(90)
                    ));
                }
            }
        }
    }
    let columns = [
        ("warehouse", "w_id, w_name, w_street, w_city, w_tax, w_ytd"),
        (
            "district",
            "d_w_id, d_id, d_name, d_street, d_city, d_tax, d_ytd, d_next_o_id",
        ),
        (
            "customer",
            "c_w_id, c_d_id, c_id, c_first, c_middle, c_last, c_street, c_city, c_credit, c_discount, c_balance, c_ytd_payment, c_payment_cnt, c_delivery_cnt, c_data",
        ),
        (
            "history",
            "h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data",
        ),
        ("item", "i_id, i_name, i_price, i_data"),
        (
            "stock",
            "s_w_id, s_i_id, s_quantity, s_dist_01, s_dist_02, s_ytd, s_order_cnt, s_remote_cnt, s_data",
        ),
        (
            "oorder",
            "o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_carrier_id, o_ol_cnt, o_all_local",
        ),
        ("new_order", "no_w_id, no_d_id, no_o_id"),
        (
            "order_line",
            "ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_supply_w_id, ol_delivery_d, ol_quantity, ol_amount, ol_dist_info",
        ),
    ];
    let tables = tables.into_iter().zip(columns);
    tables
        .map(|(rows, (table, columns))| Rows::new(table, columns, rows))
        .collect()
}
