//! Every kind of fault that an audit finds, as statements that make it.
//!
//! Each has tables of its own, so that all but those that stand `alone` fit into one database.

/// A way round the wall.
pub(crate) struct Fault {
    /// What the issue of the audit calls it.
    pub(crate) name: &'static str,
    pub(crate) by: By,
    /// What makes it; `{owner}`, `{app}` and `{platform}` are the names of the roles.
    pub(crate) made: &'static str,
    /// Code and object of everything that is found, in the order of the report.
    pub(crate) found: &'static [(&'static str, &'static str)],
    /// Where the fix is advice: statements that follow it, by the same hand.
    pub(crate) followed: &'static str,
    /// Whether it would hide other faults in the same database, or be hidden by them.
    pub(crate) alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Owner,
    Administrator,
}

const fn owner(
    name: &'static str,
    made: &'static str,
    found: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault {
        name,
        by: By::Owner,
        made,
        found,
        followed: "",
        alone: false,
    }
}

const fn administrator(
    name: &'static str,
    made: &'static str,
    found: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault {
        by: By::Administrator,
        ..owner(name, made, found)
    }
}

impl Fault {
    const fn followed(self, followed: &'static str) -> Self {
        Self { followed, ..self }
    }

    const fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }
}

/// The columns and constraints of tables that hold tenants' rows.
pub(crate) const SHAPES: &[Fault] = &[
    owner(
        "tenant column missing",
        "create table bare (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('bare');
         alter table bare drop column tenant_id cascade;",
        &[("TN004", "public.bare")],
    ),
    owner(
        "tenant column of another type",
        "create table worded (tenant_id text not null, id uuid not null, primary key (tenant_id, id));
         alter table worded enable row level security, force row level security;
         grant select on worded to {app};",
        &[("TN004", "public.worded")],
    ),
    owner(
        "tenant column nullable",
        "create table lax (tenant_id uuid not null, id uuid not null, unique (tenant_id, id));
         select tenantry.protect('lax');
         alter table lax alter column tenant_id drop not null;",
        &[("TN005", "public.lax")],
    ),
    owner(
        "primary key without tenant",
        "create table keyed (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('keyed');
         alter table keyed drop constraint keyed_pkey, add primary key (id);
         create index on keyed (tenant_id);",
        &[("TN006", "public.keyed")],
    ),
    owner(
        "unique constraint without tenant",
        "create table mailed (tenant_id uuid not null, id uuid not null, mail text, primary key (tenant_id, id));
         select tenantry.protect('mailed');
         alter table mailed add unique (mail);",
        &[("TN006", "public.mailed")],
    ),
    owner(
        "unique index without tenant",
        "create table indexed (tenant_id uuid not null, id uuid not null, mail text, primary key (tenant_id, id));
         select tenantry.protect('indexed');
         create unique index on indexed (lower(mail)) include (id) where mail <> '';",
        &[("TN006", "public.indexed")],
    ),
    owner(
        "exclusion constraint without tenant",
        "create table booked (tenant_id uuid not null, id uuid not null, span int4range, primary key (tenant_id, id));
         select tenantry.protect('booked');
         alter table booked add constraint once exclude using gist (span with &&);",
        &[("TN006", "public.booked")],
    ),
    owner(
        "foreign key without tenant, to a key without tenant",
        "create table parents (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table children (tenant_id uuid not null, id uuid not null, parent uuid, primary key (tenant_id, id));
         select tenantry.protect('parents'), tenantry.protect('children');
         alter table parents no force row level security, add unique (id);
         alter table children no force row level security, add foreign key (parent) references parents (id);
         alter table parents force row level security;
         alter table children force row level security;",
        &[
            ("TN006", "public.parents"),
            ("TN007", "public.children"),
        ],
    ),
    owner(
        "foreign key without tenant",
        "create table masters (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table pupils (tenant_id uuid not null, id uuid not null, of_tenant uuid, master uuid,
             primary key (tenant_id, id), foreign key (of_tenant, master) references masters);
         grant select, insert, update, delete on masters, pupils to {app};
         alter table masters enable row level security, force row level security;
         alter table pupils enable row level security, force row level security;
         select tenantry.write_wall('masters'), tenantry.write_wall('pupils');
         alter table masters add constraint tenantry_not_nil
             check (tenant_id <> '00000000-0000-0000-0000-000000000000'::uuid);
         alter table pupils add constraint tenantry_not_nil
             check (tenant_id <> '00000000-0000-0000-0000-000000000000'::uuid);",
        &[("TN007", "public.pupils")],
    ),
    owner(
        "foreign key without tenant, from a table out of reach",
        "create table bosses (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table workers (tenant_id uuid not null, id uuid not null, of_tenant uuid, boss uuid,
             primary key (tenant_id, id));
         select tenantry.protect('bosses'), tenantry.protect('workers');
         alter table bosses no force row level security;
         alter table workers no force row level security,
             add foreign key (of_tenant, boss) references bosses on delete cascade;
         alter table bosses force row level security;
         alter table workers force row level security;
         revoke all on workers from {app};",
        &[("TN007", "public.workers")],
    ),
    owner(
        "foreign key without tenant, of a partition",
        "create table firms (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table staff (tenant_id uuid not null, at date not null, of_tenant uuid, firm uuid,
             primary key (tenant_id, at)) partition by range (at);
         create table staff_26 partition of staff for values from ('2026-01-01') to ('2027-01-01');
         select tenantry.protect('firms'), tenantry.protect('staff');
         alter table firms no force row level security;
         alter table staff_26 no force row level security,
             add foreign key (of_tenant, firm) references firms;
         alter table firms force row level security;
         alter table staff_26 force row level security;",
        &[("TN007", "public.staff_26")],
    ),
    owner(
        "foreign key that sets the tenant",
        "create table trees (tenant_id uuid not null, id uuid not null, up uuid, primary key (tenant_id, id));
         select tenantry.protect('trees');
         alter table trees no force row level security;
         alter table trees add foreign key (tenant_id, up) references trees on update set default on delete set null;
         alter table trees force row level security;",
        &[("TN008", "public.trees")],
    ),
    owner(
        "no tenant-leading index",
        "create table scanned (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('scanned');
         alter table scanned drop constraint scanned_pkey, add primary key (id, tenant_id);",
        &[("TN009", "public.scanned")],
    ),
    owner(
        "rule",
        "create table ruled (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('ruled');
         create rule silent as on delete to ruled do instead nothing;",
        &[("TN011", "public.ruled")],
    ),
    owner(
        "inheritance",
        "create table bequest (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('bequest');
         create table heir () inherits (bequest);",
        &[
            ("TN012", "public.bequest"),
            ("TN009", "public.heir"),
            ("TN012", "public.heir"),
            ("TN063", "public.heir"),
        ],
    )
    .followed("alter table heir no inherit bequest"),
];

/// Row-level security itself.
pub(crate) const WALLS: &[Fault] = &[
    owner(
        "without check against nil",
        "create table nilled (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('nilled');
         alter table nilled drop constraint tenantry_not_nil;",
        &[("TN060", "public.nilled")],
    ),
    owner(
        "row-level security off",
        "create table switched (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('switched');
         alter table switched disable row level security;",
        &[("TN050", "public.switched")],
    ),
    owner(
        "granted, neither protected nor shared",
        "create table plain (id int); grant select (id) on plain to public;",
        &[("TN050", "public.plain")],
    )
    .followed("select tenantry.share('plain')"),
    owner(
        "no FORCE",
        "create table unforced (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('unforced');
         alter table unforced no force row level security;",
        &[("TN051", "public.unforced")],
    ),
    owner(
        "no policy",
        "create table open (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('open');
         drop policy tenantry_wall on open;
         drop policy tenantry_access on open;
         drop policy tenantry_platform on open;",
        &[("TN052", "public.open")],
    ),
    owner(
        "policy without WITH CHECK",
        "create table unchecked (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('unchecked');
         drop policy tenantry_wall on unchecked;
         create policy tenantry_wall on unchecked as restrictive for all to {app}
             using (tenant_id = nullif(current_setting('tenantry.tenant_id', true), '')::uuid);",
        &[("TN052", "public.unchecked")],
    ),
    owner(
        "permissive extra policy",
        "create table doubled (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('doubled');
         create policy \"Also\" on doubled using (true);",
        &[("TN010", "public.doubled")],
    ),
    owner(
        "not yet granted, not protected",
        "create schema later;
         create table later.pending (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));",
        &[("TN063", "later.pending")],
    ),
    owner(
        "not yet granted, neither protected nor shared",
        "create table idle (id int);",
        &[("TN064", "public.idle")],
    )
    .followed("select tenantry.share('idle')"),
    administrator(
        "table of somebody else",
        "create table foreign_owned (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         alter table foreign_owned owner to {owner};
         set local role {owner}; select tenantry.protect('foreign_owned'); reset role;
         alter table foreign_owned owner to {platform};",
        &[("TN003", "public.foreign_owned")],
    ),
    administrator(
        "table of somebody else, granted and not protected",
        "create table strange (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         grant select on strange to {app};",
        &[("TN003", "public.strange"), ("TN050", "public.strange")],
    ),
];

/// What is granted beside the wall.
pub(crate) const GRANTS: &[Fault] = &[
    owner(
        "owner view without security_invoker",
        "create table looked_at (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('looked_at');
         create view \"Look\" as select * from looked_at;
         grant select on \"Look\" to {app};",
        &[("TN055", "public.\"Look\"")],
    ),
    owner(
        "materialised view",
        "create materialized view copies as select 1 as id; grant select on copies to public, {app};",
        &[("TN056", "public.copies")],
    ),
    administrator(
        "foreign table",
        "create foreign data wrapper elsewhere; create server far foreign data wrapper elsewhere;
         create foreign table far_away (id int) server far; grant select (id) on far_away to {app};",
        &[("TN057", "public.far_away")],
    ),
    administrator(
        "SECURITY DEFINER function",
        "create function peek(int) returns bigint language sql security definer as 'select 1::bigint';",
        &[("TN036", "public.peek(integer)")],
    ),
    administrator(
        "SECURITY DEFINER procedure",
        "create procedure poke() language sql security definer as 'select 1';",
        &[("TN036", "public.poke()")],
    ),
    administrator(
        "SECURITY DEFINER trigger that nobody may execute",
        "create table watched (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         alter table watched owner to {owner};
         set local role {owner}; select tenantry.protect('watched'); reset role;
         create function watch() returns trigger language plpgsql security definer as 'begin return new; end';
         revoke all on function watch() from public;
         create trigger watch before insert on watched for each row execute function watch();",
        &[("TN036", "public.watch()")],
    ),
    administrator(
        "SECURITY DEFINER step of an aggregate that nobody may execute",
        "create function step(text, text) returns text language sql security definer as 'select $2';
         revoke all on function step(text, text) from public;
         create aggregate steps(text) (sfunc = step, stype = text);",
        &[("TN036", "public.step(text,text)")],
    ),
    administrator(
        "SECURITY DEFINER function that the owner's function may call",
        "create function inner_one() returns int language sql security definer as 'select 1';
         revoke all on function inner_one() from public;
         grant execute on function inner_one() to {owner};
         create function outer_one() returns int language sql security definer as 'select inner_one()';
         alter function outer_one() owner to {owner};",
        &[("TN036", "public.inner_one()")],
    )
    .alone(),
    owner(
        "materialised view that the owner's function may read",
        "create materialized view totals as select 1 as id;
         create function total() returns int language sql security definer as 'select id from totals';",
        &[("TN056", "public.totals")],
    )
    .alone(),
    administrator(
        "foreign table that the owner's function may read",
        "create foreign data wrapper beyond; create server beyond foreign data wrapper beyond;
         create foreign table remote (id int) server beyond; grant select (id) on remote to {owner};
         create function remotely() returns int language sql security definer as 'select id from remote';
         alter function remotely() owner to {owner};",
        &[("TN057", "public.remote")],
    )
    .alone(),
    administrator(
        "administrator's view, and rule of one, that the owner's function may use",
        "create view every as select 1 as id; grant select on every to {owner};
         create view careful with (security_invoker = true) as select 1 as id;
         create rule \"Changed\" as on update to careful do instead nothing;
         grant select, update on careful to {owner};
         create function everything() returns bigint language sql security definer as 'select count(*) from every';
         alter function everything() owner to {owner};",
        &[("TN011", "public.careful"), ("TN055", "public.every")],
    )
    .alone(),
    owner(
        "unprotected tables that the owner's function may read",
        "create table hoard (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table pile (tenant_id uuid not null, at date not null, primary key (tenant_id, at))
             partition by range (at);
         select tenantry.protect('pile');
         create table heap partition of pile for values from ('2026-01-01') to ('2027-01-01');
         create function hoarded() returns bigint language sql security definer as 'select count(*) from hoard';",
        &[("TN054", "public.heap"), ("TN063", "public.hoard")],
    )
    .alone(),
    administrator(
        "SECURITY DEFINER trigger of a table that a foreign key writes",
        "create table bodies (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         create table limbs (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id),
             foreign key (tenant_id, id) references bodies on delete cascade);
         alter table bodies owner to {owner}; alter table limbs owner to {owner};
         set local role {owner}; select tenantry.protect('bodies'), tenantry.protect('limbs'); reset role;
         revoke all on limbs from {app};
         create function lose() returns trigger language plpgsql security definer as 'begin return old; end';
         revoke all on function lose() from public;
         create trigger lose after delete on limbs for each row execute function lose();",
        &[("TN036", "public.lose()")],
    ),
    administrator(
        "function and materialised view of a closed schema, which a view leads to",
        "create schema shut; create materialized view shut.kept as select 1 as id;
         create function shut.told() returns int language sql security definer as 'select 1';
         create view door with (security_invoker = true) as select id, shut.told() from shut.kept;
         grant select on shut.kept, door to {app};",
        &[("TN036", "shut.told()"), ("TN056", "shut.kept")],
    ),
    administrator(
        "view in a schema of the server",
        "create view information_schema.disguised as select 1 as id;
         grant select on information_schema.disguised to {app};",
        &[("TN055", "information_schema.disguised")],
    ),
    administrator(
        "rules of a view",
        "create view renamed with (security_invoker = true) as select 1 as id;
         create rule changed as on update to renamed do instead nothing;
         create rule removed as on delete to renamed do instead nothing;
         grant select, update on renamed to {app};",
        &[("TN011", "public.renamed"), ("TN011", "public.renamed")],
    ),
    owner(
        "granted partition leaf",
        "create table parted (tenant_id uuid not null, at date not null, primary key (tenant_id, at))
             partition by range (at);
         create table leaf partition of parted for values from ('2026-01-01') to ('2027-01-01');
         select tenantry.protect('parted');
         grant select on leaf to {app};",
        &[("TN054", "public.leaf")],
    ),
    owner(
        "TRUNCATE granted",
        "create table emptied (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('emptied');
         grant truncate on emptied to {app};",
        &[("TN058", "public.emptied")],
    ),
    owner(
        "TRUNCATE granted on a table without tenants",
        "create table minutes (id int); grant truncate on minutes to {app};",
        &[("TN050", "public.minutes"), ("TN058", "public.minutes")],
    )
    .followed("select tenantry.share('minutes')"),
    owner(
        "all granted on the history of the migrations",
        "create table _sqlx_migrations (version bigint); grant all on _sqlx_migrations to {app};",
        &[
            ("TN050", "public._sqlx_migrations"),
            ("TN058", "public._sqlx_migrations"),
        ],
    ),
    owner(
        "REFERENCES granted on a column",
        "create table referred (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         select tenantry.protect('referred');
         grant references (id) on referred to public;",
        &[("TN058", "public.referred")],
    ),
    owner(
        "shared table may be written",
        "create table editions (id int primary key); select tenantry.share('editions');
         grant insert on editions to {app};",
        &[("TN059", "public.editions")],
    ),
    owner(
        "shared table altered",
        "create table countries (id int primary key); select tenantry.share('countries');
         drop policy tenantry_shared on countries;
         create policy tenantry_shared on countries for all using (true);",
        &[("TN059", "public.countries")],
    ),
    owner(
        "shared table with a tenant",
        "create table plans (id int); select tenantry.share('plans');
         alter table plans add tenant_id uuid not null primary key;",
        &[("TN059", "public.plans")],
    )
    .followed("select tenantry.unshare('plans'); select tenantry.protect('plans')"),
    owner(
        "identity column shared by tenants",
        "create table counted (tenant_id uuid not null, id bigint generated always as identity,
             primary key (tenant_id, id));
         select tenantry.protect('counted');",
        &[("TN061", "public.counted_id_seq")],
    )
    .followed("alter table counted alter column id drop identity if exists"),
    owner(
        "default from a sequence",
        "create sequence numbers;
         create table numbered (tenant_id uuid not null, id bigint not null default nextval('numbers'),
             primary key (tenant_id, id));
         select tenantry.protect('numbered');",
        &[("TN061", "public.numbers")],
    )
    .followed("alter table numbered alter column id drop default"),
    owner(
        "sequence granted by itself",
        "create sequence tickets; grant usage on sequence tickets to public;",
        &[("TN061", "public.tickets")],
    )
    .followed("revoke all on sequence tickets from public"),
    owner(
        "default privileges for the app role",
        "alter default privileges grant select on tables to {app};",
        &[("TN062", "{owner}")],
    ),
    administrator(
        "default privileges for PUBLIC in a schema",
        "create schema wide;
         alter default privileges for role {platform} in schema wide grant select, insert on tables to public;",
        &[("TN062", "{platform}")],
    ),
];

/// Roles and their settings.
pub(crate) const ROLES: &[Fault] = &[
    administrator(
        "app role is superuser",
        "alter role {app} superuser",
        &[("TN030", "{app}")],
    )
    .alone(),
    administrator(
        "app role has BYPASSRLS",
        "alter role {app} bypassrls",
        &[("TN030", "{app}")],
    ),
    administrator(
        "app role is a member of the owner",
        "grant {owner} to {app}",
        &[("TN031", "{app}")],
    )
    .alone(),
    administrator(
        "app role is a member of the platform role",
        "alter role {app} noinherit; grant {platform} to {app}",
        &[("TN031", "{app}")],
    )
    .alone(),
    administrator(
        "app role reads every relation",
        "create view secrets as select 1 as id; grant pg_read_all_data to {app}",
        &[("TN031", "{app}"), ("TN055", "public.secrets")],
    )
    .alone(),
    administrator(
        "app role runs programs on the server",
        "grant pg_execute_server_program to {app}",
        &[("TN031", "{app}")],
    ),
    administrator(
        "app role owns relations",
        "create view own as select 1 as id; create view owned as select 1 as id;
         alter view own owner to {app}; alter view owned owner to {app};",
        &[
            ("TN033", "{app}"),
            ("TN055", "public.own"),
            ("TN055", "public.owned"),
        ],
    ),
    administrator(
        "app role creates objects",
        "create schema workshop; grant create on schema workshop to {app}, public;",
        &[("TN034", "workshop")],
    ),
    administrator(
        "app role creates objects among those of the server",
        "grant create on schema pg_catalog to {app};",
        &[("TN034", "pg_catalog")],
    ),
    administrator(
        "app role owns a schema",
        "create schema home authorization {app};",
        &[("TN034", "home")],
    ),
    administrator(
        "owner role has BYPASSRLS",
        "alter role {owner} bypassrls",
        &[("TN035", "{owner}")],
    ),
    administrator(
        "tenant set by default",
        "alter role {app} set tenantry.tenant_id = '11111111-1111-4111-8111-111111111111'",
        &[("TN040", "{app}")],
    ),
    administrator(
        "row-level security switched off by default",
        "do 'begin execute format($$alter role {app} in database %I set row_security = off$$, current_database()); end'",
        &[("TN041", "{app}")],
    ),
];

/// Returns all kinds.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    [SHAPES, WALLS, GRANTS, ROLES].into_iter().flatten()
}
