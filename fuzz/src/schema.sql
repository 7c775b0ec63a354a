-- The tables of both sides; `:tenant` is the default of tenant_id, or nothing.
create table a (
    tenant_id blob not null :tenant, id integer not null, n integer, parent integer,
    edition integer, t text,
    primary key (tenant_id, id),
    foreign key (tenant_id, parent) references a (tenant_id, id)
) strict, without rowid;
create table b (
    tenant_id blob not null :tenant, id integer not null, n integer, t text collate nocase,
    primary key (tenant_id, id)
) strict;
-- With a unique key without the tenant.
create table c (
    tenant_id blob not null :tenant, id integer not null, n integer, code text unique,
    primary key (tenant_id, id)
) strict;
create table customers (
    tenant_id blob not null :tenant, id integer not null, name text,
    primary key (tenant_id, id)
) strict;
create table invoices (
    tenant_id blob not null :tenant, id integer not null, customer integer, cents integer,
    primary key (tenant_id, id)
) strict;
-- Without any key, and of any type.
create table "Odd ""Name" (tenant_id blob not null :tenant, id, n integer, x real);
create table editions (id integer primary key, name text) strict;
create table loose (id integer primary key, n integer) strict;
create view named as
    select i.id, c.name from invoices i left join customers c on c.id = i.customer;
create view busy as select n, count(*) as many, min(t) as t from b group by n having count(*) > 0;
create view above as
    with top as (select * from a where parent is null)
    select top.id, top.n, b.t from top left join b on b.n = top.n;
create index b_n on b (n);
create index a_parent on a (tenant_id, parent, n);
