//! Small tables of every kind, for generated statements.

use super::schema::{Dice, Rows, Schema};

pub(crate) const ON_POSTGRES: Schema = Schema {
    tables: r#"
        create table colours (id int primary key, name text not null);
        create table people ({tenant}, id int not null, name text, boss int, age int, born date,
            score numeric, active boolean, tag uuid, doc jsonb, marks int[],
            primary key (tenant_id, id),
            foreign key (tenant_id, boss) references people (tenant_id, id));
        create table orders ({tenant}, id int not null, person_id int, colour_id int references colours,
            total numeric, state text not null default 'open', placed date,
            primary key (tenant_id, id),
            foreign key (tenant_id, person_id) references people (tenant_id, id));
        create table items ({tenant}, order_id int not null, line int not null, sku text, qty int,
            price numeric, primary key (tenant_id, order_id, line),
            foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade);
        create table notes ({tenant}, id int not null, name text, body text,
            primary key (tenant_id, id));
        create index on notes (tenant_id, name);
        create table "Mixed Case" ({tenant}, "Id" int not null, "Some Text" text, "select" int,
            primary key (tenant_id, "Id"));
        create table bare ({tenant}, id int, name text);
        create index on bare (tenant_id);
    "#,
    views: &[(
        "adults",
        "select tenant_id, id, name, age from people where age > 21",
    )],
    owned: &[
        "people",
        "orders",
        "items",
        "notes",
        "\"Mixed Case\"",
        "bare",
    ],
    shared: &["colours"],
    common: colours,
    own: |tenant| rows(tenant, true),
};

pub(crate) const ON_SQLITE: Schema = Schema {
    tables: r#"
        create table colours (id integer primary key, name text not null);
        create table people ({tenant}, id integer not null, name text, boss integer, age integer,
            born text, score integer, active integer, primary key (tenant_id, id));
        create table orders ({tenant}, id integer not null, person_id integer, colour_id integer,
            total integer, state text not null default 'open', placed text,
            primary key (tenant_id, id));
        create table items ({tenant}, order_id integer not null, line integer not null, sku text,
            qty integer, price integer, primary key (tenant_id, order_id, line));
        create table notes ({tenant}, id integer not null, name text, body text,
            primary key (tenant_id, id));
        create table "Mixed Case" ({tenant}, "Id" integer not null, "Some Text" text,
            "select" integer, primary key (tenant_id, "Id"));
        create table bare ({tenant}, id integer, name text);
    "#,
    views: &[(
        "adults",
        "select tenant_id, id, name, age from people where age > 21",
    )],
    owned: &[
        "people",
        "orders",
        "items",
        "notes",
        "\"Mixed Case\"",
        "bare",
    ],
    shared: &["colours"],
    common: colours,
    own: |tenant| rows(tenant, false),
};

fn colours() -> Vec<Rows> {
    let rows = ["1, 'red'", "2, 'green'", "3, 'blue'"].map(str::to_owned);
    vec![Rows::new("colours", "id, name", rows.to_vec())]
}

/// The identifiers of the tenants overlap, what is stored under them differs.
fn rows(tenant: usize, postgres: bool) -> Vec<Rows> {
    let names = ["ada", "bob", "cyd", "dan", "", "eve", "red"];
    let mut dice = Dice::new(40 + tenant as u64);
    let owner = tenant + 1;
    let mut people = Vec::new();
    for id in 1..=(5 + tenant) {
        let name = dice.or_null(20, |dice| format!("'{}'", dice.of(&names)));
        let boss = match id {
            1 => "null".to_owned(),
            _ => dice.or_null(20, |dice| (dice.roll(id as u64 - 1) + 1).to_string()),
        };
        let age = dice.or_null(20, |dice| (20 + dice.roll(6)).to_string());
        let born = dice.or_null(20, |dice| format!("'200{}-0{owner}-11'", dice.roll(4)));
        let score = dice.or_null(20, |dice| {
            if postgres {
                format!("{}.{owner}0", dice.roll(9))
            } else {
                (dice.roll(90) * 10 + owner as u64).to_string()
            }
        });
        let active = dice.or_null(20, |dice| match (postgres, dice.roll(2)) {
            (true, 0) => "false".to_owned(),
            (true, _) => "true".to_owned(),
            (false, bit) => bit.to_string(),
        });
        let mut row = format!("{id}, {name}, {boss}, {age}, {born}, {score}, {active}");
        if postgres {
            let tag = dice.or_null(20, |dice| {
                format!("'cccccccc-0000-4000-8000-00000000000{}'", dice.roll(4))
            });
            let doc = dice.or_null(20, |dice| {
                format!("'{{\"of\": {owner}, \"n\": {}}}'", dice.roll(5))
            });
            let marks = dice.or_null(20, |dice| format!("'{{{},{owner}}}'", dice.roll(5)));
            row += &format!(", {tag}, {doc}, {marks}");
        }
        people.push(row);
    }
    let mut orders = Vec::new();
    let mut items = Vec::new();
    for id in 1..=(6 + 2 * tenant) {
        let person = dice.or_null(20, |dice| (dice.roll(5 + tenant as u64) + 1).to_string());
        let colour = dice.or_null(20, |dice| (dice.roll(3) + 1).to_string());
        let point = if postgres { "." } else { "" };
        let total = dice.or_null(20, |dice| format!("{}{point}{owner}5", dice.roll(50)));
        let state = dice.of(&["open", "paid", "void"]);
        let placed = dice.or_null(20, |dice| format!("'2024-0{owner}-1{}'", dice.roll(9)));
        orders.push(format!(
            "{id}, {person}, {colour}, {total}, '{state}', {placed}"
        ));
        for line in 1..=(dice.roll(4)) {
            let sku = dice.or_null(20, |dice| format!("'s{}{owner}'", dice.roll(4)));
            let qty = dice.or_null(20, |dice| dice.roll(6).to_string());
            let price = dice.or_null(20, |dice| format!("{}{point}{owner}", dice.roll(9)));
            items.push(format!("{id}, {line}, {sku}, {qty}, {price}"));
        }
    }
    let mut notes = Vec::new();
    let mut mixed = Vec::new();
    let mut bare = Vec::new();
    for id in 1..=(4 + tenant) {
        let name = dice.or_null(20, |dice| format!("'{}'", dice.of(&names)));
        notes.push(format!("{id}, {name}, 'of {owner}'"));
        let text = dice.or_null(20, |dice| format!("'{}{owner}'", dice.of(&names)));
        mixed.push(format!("{id}, {text}, {}", dice.roll(7)));
        let id = dice.or_null(30, |dice| dice.roll(6).to_string());
        bare.push(format!("{id}, {name}"));
    }
    let columns = if postgres {
        "id, name, boss, age, born, score, active, tag, doc, marks"
    } else {
        "id, name, boss, age, born, score, active"
    };
    vec![
        Rows::new("people", columns, people),
        Rows::new(
            "orders",
            "id, person_id, colour_id, total, state, placed",
            orders,
        ),
        Rows::new("items", "order_id, line, sku, qty, price", items),
        Rows::new("notes", "id, name, body", notes),
        Rows::new("\"Mixed Case\"", "\"Id\", \"Some Text\", \"select\"", mixed),
        Rows::new("bare", "id, name", bare),
    ]
}
