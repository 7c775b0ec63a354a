-- The tables of both sides; `:tenant` is the default of tenant_id, or nothing.
create table a (
    tenant_id uuid not null :tenant, id bigint not null, n bigint, parent bigint,
    edition bigint, t text,
    primary key (tenant_id, id),
    foreign key (tenant_id, parent) references a (tenant_id, id) deferrable
);
create table b (
    tenant_id uuid not null :tenant, id bigint not null, n bigint, t text,
    primary key (tenant_id, id)
);
create table c (
    tenant_id uuid not null :tenant, id bigint not null, n bigint, code text,
    primary key (tenant_id, id), unique (tenant_id, code)
);
create table customers (
    tenant_id uuid not null :tenant, id bigint not null, name text,
    primary key (tenant_id, id)
);
create table invoices (
    tenant_id uuid not null :tenant, id bigint not null, customer bigint, cents bigint,
    primary key (tenant_id, id)
);
-- Without any key.
create table "Odd ""Name" (tenant_id uuid not null :tenant, id text, n bigint, x float8);
create table editions (id bigint primary key, name text);
create table loose (id bigint primary key, n bigint);
create view named with (security_invoker = true) as
    select i.id, c.name from invoices i left join customers c on c.id = i.customer;
create view busy with (security_invoker = true) as
    select n, count(*) as many, min(t) as t from b group by n having count(*) > 0;
create view above with (security_invoker = true) as
    with top as (select * from a where parent is null)
    select top.id, top.n, b.t from top left join b on b.n = top.n;
create index odd_tenant on "Odd ""Name" (tenant_id);
create index b_n on b (n);
create index a_parent on a (tenant_id, parent, n);
