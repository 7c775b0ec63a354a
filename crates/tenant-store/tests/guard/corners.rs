//! Writes of rare forms: each is refused, or touches the rows of one tenant.

use futures_util::TryStreamExt as _;
use tenantry_store::guard::store_error;
use tenantry_store::{ErrorKind, TenantScope};

const ON_BOTH: &[&str] = &[
    "insert into invoices (id, cents) values (1, 1) on conflict do nothing",
    "insert into invoices (id, cents) values (1, 1) on conflict (id) do nothing",
    "insert into invoices (id, cents) values (1, 1), (9, 1) on conflict (tenant_id, id) do update set
         cents = excluded.cents + (select max(id) from customers) where excluded.cents > 0 or true",
    "insert into invoices (id) values (2) on conflict (tenant_id, id) do update set
         (customer, cents) = (select count(*), sum(id) from customers)",
    "insert into invoices (id) values (1) on conflict (tenant_id, id) do update set
         tenant_id = excluded.tenant_id",
    "insert into invoices (id, cents) select id + 20, cents from invoices union select id + 30, 1 from
         customers",
    "with q as (select id + 40 as id, cents from invoices) insert into invoices (id, cents)
         select * from q",
    "with customers as (select 50 as id) insert into invoices (id, cents) select id, (select count(*)
         from customers) from customers returning (select count(*) from customers)",
    "with invoices as (select 1 as id) delete from invoices where id = 41",
    "update invoices set cents = j.cents from invoices j where j.id = invoices.id + 1",
    "update invoices set cents = x.n from (select count(*) as n from invoices) x",
    "update invoices set (customer, cents) = (select max(id), count(*) from customers)",
    "update invoices set tenant_id = tenant_id",
    "update invoices set (cents, tenant_id) = (select 1, tenant_id from customers limit 1)",
    "delete from invoices where id in (select id from customers where id > 1) or id > 40 returning id",
    "insert into invoices default values",
];

const ON_POSTGRES: &[&str] = &[
    "merge into invoices i using customers c on i.id = c.id
         when matched and c.id = 1 then update set cents = i.cents + 1
         when matched and c.id = 2 then delete
         when not matched then insert (id, customer) values (c.id, c.id)",
    "merge into invoices using (values (1, 5), (77, 6)) as v(id, cents) on invoices.id = v.id
         when matched then update set cents = v.cents
         when not matched then insert (id, cents) values (v.id, v.cents)",
    "with q as (select id + 200 as id from customers) merge into invoices i using q on i.id = q.id
         when not matched then insert (id, cents) values (q.id, (select sum(cents) from invoices))",
    "merge into invoices i using (customers c left join invoices j on j.id = c.id) on i.id = c.id
         when matched and exists (select from customers) then update set (cents, customer) =
         (select max(cents), max(customer) from invoices)",
    "merge into invoices i using customers c on true when matched then do nothing",
    "merge into invoices i using customers c on false when not matched then insert default values",
    "merge into invoices i using customers c on i.id = c.id when matched then update set
         tenant_id = c.tenant_id",
    "insert into invoices (id) values (1) on conflict on constraint invoices_pkey do update set cents = 7",
    "insert into invoices as x (id) values (1) on conflict (tenant_id, id) do update set
         cents = x.cents + excluded.id where x.id = 1 or true",
    "insert into invoices (id, cents) (select id + 500, cents from invoices except select 501, 100)
         on conflict do nothing",
    "update only invoices set cents = 1",
    "delete from invoices i using invoices j, customers c where i.id = j.id and j.id = c.id returning *",
    "with d as (delete from invoices where id > 100 returning *), i as (insert into invoices (id, cents)
         select id + 10000, cents from d returning *), u as (update invoices set cents = 3 returning *)
         select * from d, i, u",
    "with invoices as (delete from invoices where id = 1 returning *) select * from invoices",
];

const ON_SQLITE: &[&str] = &[
    "insert or replace into invoices (id) values (1)",
    "insert or ignore into invoices (id) values (1)",
    "replace into invoices (id) values (1)",
    "update or replace invoices set id = 1",
    "insert into invoices (id) values (1) on conflict do update set cents = 4",
    "insert into main.invoices (id) values (77)",
    "insert into temp.invoices (id) values (77)",
    "insert into invoices (id, 'tenant_id') values (1, x'00')",
    "update invoices set [tenant_id] = x'00'",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5)
         insert into invoices (id, cents) select i + 1000, i from n",
    "update invoices set cents = c.id from customers c, customers d left join editions e on e.id = d.id
         where c.id = invoices.id returning *",
];

macro_rules! corners {
    ($open:path, $executor:ident, $more:expr) => {
        use super::*;

        async fn state(scope: &TenantScope) -> (Vec<(i64, Option<i64>, Option<i64>)>, i64) {
            let executor = scope.$executor().unwrap();
            let invoices = sqlx::query_as("select id, customer, cents from invoices order by id");
            let customers = sqlx::query_scalar("select count(*) from customers");
            (
                invoices.fetch_all(executor).await.unwrap(),
                customers.fetch_one(executor).await.unwrap(),
            )
        }

        #[tokio::test]
        async fn a_write_of_a_rare_form_leaves_other_tenants_alone() {
            let fixture = $open().await;
            let theirs = state(&fixture.theirs).await;
            for sql in ON_BOTH.iter().chain($more) {
                let work = fixture.ours.begin().await.unwrap();
                let rows = sqlx::query(*sql).fetch(work.$executor().unwrap());
                let done = rows.try_collect::<Vec<_>>().await.map_err(store_error);
                match done {
                    Ok(_) => work.commit().await.unwrap(),
                    Err(error) => assert!(
                        [ErrorKind::RefusedStatement, ErrorKind::ConstraintViolated]
                            .contains(&error.kind()),
                        "{sql}: {error:?}"
                    ),
                }
                assert_eq!(state(&fixture.theirs).await, theirs, "{sql}");
            }
        }
    };
}

mod sqlite {
    corners!(crate::sqlite::open, sqlx_sqlite, ON_SQLITE);
}

mod postgres {
    corners!(crate::postgres::open, sqlx_postgres, ON_POSTGRES);
}
