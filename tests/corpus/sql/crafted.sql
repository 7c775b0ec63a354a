-- Statements made to get past the guard: one ends at a semicolon at the end of a line.
-- Letters that no editor shows are written <CR>, <VT>, <FF>, <LS>, <NBSP>, <ZW> and <BOM>.

-- Words that one parser takes for a name and the other for grammar.
with "only" as (select 1 as id) select people.id from only people;
with "only" as (select 1 as id, 'x' as name) select people.id, people.name from "only" o, only people where o.id = 1;
with "lateral" as (select 1 as id) select id from lateral (select id from people) x;
with "table" as (select 1) table people;
with "values" as (select 1) select * from "values";
with "rows" as (select 1 as id) select * from rows from (generate_series(1,2)) as t(x);
select * from only (people);
select 1 from people p left join only notes n on n.id = p.id;
update only people set name = 'x';
update people * set name = 'x';
delete from only notes;
delete from notes *;
insert into notes as "only" (id, name) values (88, 'x');
table people;
select exists (table people);
select id from people union table bare;
insert into notes (id) table bare;

-- Where a statement ends, to one parser and to another.
select 1 end union all select people.id from people;
select id end from people;
select (select 1) end, id from people;
select 1 as one union all select id end from people union all select id from notes;

-- Where a condition ends.
select id from people where name = 'x' or 1 = 1 -- comment;
select id from people where id = 1 or id = 2;
select id from people p where (id = 1) or (p.id = 2);
select * from people p where not id = 1 or true;
delete from notes where id = 1 or id = 2 returning *;
update notes n set name = 'q' where id = 1 or id = 2 returning *;
select * from people where id operator(pg_catalog.=) 1 or true;
select * from people where id in (1) = true or false is not null;
select id between 1 and 2 or true from people where id between 1 and 2 or true;
select * from people where name like 'a!' escape '!' or true;
select * from people p where p.tenant_id::text like '%';
select id from people where name like any (array['a%', '%b']) or false;
select id from people where name not ilike any (array(select name from notes)) and true;
select id from people where name like any ((select array_agg(body) from notes)::text[]) is not true;
select people.* from people where id > /* c */ all (select id from notes);
select count(*) over w from people window w as (partition by name);
select count(*) from people group by distinct name;

-- Joins.
select a.id from people a, people b, people c where a.id = b.id or b.id = c.id;
select p.id from (people p left join orders o on o.person_id = p.id) where o.id is null;
select p.id from people p left join (orders o join items i on i.order_id = o.id) on o.person_id = p.id;
select * from (people p full join notes n using (id));
select * from people p full join notes n using (id) full join bare b using (id);
select * from people full join notes using (tenant_id, id) where people.id is null;
select * from people natural join notes;
select * from people natural left join orders natural full join notes;
select count(*) from (values (1), (2)) v (id) natural join people;
select tenant_id, id from people join notes using (tenant_id, id) where tenant_id is not null;
select * from ((people p));
select * from ((people p join notes n using (id)));
select x.* from (people p join notes n on p.id = n.id) x (a, b);

-- What only a table itself has.
select p.id, p.name from people p group by p.tenant_id, p.id;
select p.id, p.name, n.body from people p left join notes n on n.id = p.id group by p.tenant_id, p.id, n.tenant_id, n.id;
select p.id, p.name from people p full join notes n on n.id = p.id group by p.tenant_id, p.id, n.tenant_id, n.id;
select ctid is not null, xmin is not null, cmin is not null from people;
select row_to_json(p) from people p(a, b);
select p.ctid is not null from people p full join notes n on p.id = n.id;
select tableoid::regclass::text from people;
select p::people from people p full join notes n on n.id = p.id;
select (p::people).name from people p;
select (p).name, (p).* from people p;
select name(p) from people p;
select row(p.*) = row(q.*) from people p, people q;
select array_agg(p order by p.id) from people p;
select id from people tablesample system (100);

-- Names that hide others.
select people.name from people, notes people2 where people.id = people2.id;
select orders.id from people orders, orders people where orders.id = people.id;
select * from adults people, people adults where adults.id = people.id;
select count(*) from people tenant_id;
select tenant_id.id from people tenant_id;
select tenant_id from people tenant_id;
select people from people;
select people from orders people;
select people.people from (select 1 as people) people;
select x.* from people p join (select p.id from notes p) x on x.id = p.id;
select (select p.id from notes n limit 1) from people p where p.id = (select min(p.id) from people p);
select x.tenant_id from (select 1 as tenant_id) x, people;
select id from people, (select 5 as tenant_id) x where x.tenant_id = 5;
select (select tenant_id from (select 3 as tenant_id) z, people limit 1);
select 1 from people where exists (select 1 from generate_series(1, 2) tenant_id where tenant_id = 1);
select p.* from people p join lateral (select 1 as tenant_id) x on true;
select * from people as p (t, i, n) where i = 1;
select i from people as p (t, i, n) order by t, i;
select id from people as p (tenant_idx, id);
select n.tenant_id from notes as n (id, tenant_id, name, body);
select n.id from notes as n (id, tenant_id) where n.tenant_id = 1;

-- Common table expressions.
with people as (select * from people) select id from people;
with people as (select id from notes), notes as (select id from people) select * from notes, people;
with recursive people as (select 1 as id union all select id + 1 from people where id < 3) select * from people, public.people p;
with recursive r as (select id, boss, name from people where boss is null union all select p.id, p.boss, p.name from people p, r where p.boss = r.id) search depth first by id set ord select id, name from r;
with recursive r as (select id, boss from people where boss is null union all select p.id, p.boss from people p, r where p.boss = r.id) cycle id set is_cycle using path select id from r;
with a as (select id from b), b as (select 2 as id) select * from a;
with bare as (select 9 as id) select * from public.bare, bare x;
with x as (with bare as (select 9 as id) select id from bare) select x.id, b.id from x, bare b;
select (with bare as (select 9 as id) select max(id) from bare), (select max(id) from bare);
insert into notes (id, name) with people as (select 7 as id, 'w' as name) select id, name from people;
with people as (select 7 as id) insert into notes (id, name) select people.id, p.name from people, public.people p where p.id = 1;
with people as (select 7 as id) update people set name = 'u' where id = 1;
with people as (select 7 as id) delete from notes using people where notes.id = people.id;
with notes as (select 7 as id) delete from notes where id = 1;
with gone as (delete from notes returning *) select (select count(*) from notes), (select count(*) from gone);

-- Views.
select * from adults;
select * from adults a join adults b on a.id = b.id;
select * from adults full join people on adults.id = people.id;
update adults set name = 'x';
with adults as (select 1 as id) select * from adults;
with people as (select 1 as id, 99 as age, 'fake' as name, null::uuid as tenant_id) select * from adults;

-- Writes.
update notes as n set name = (select max(p.name) from people p where p.id = n.id);
update notes set (name, body) = (select p.name, p.name from people p where p.id = notes.id);
update notes set (name, body) = row ('a', (select max(name) from people));
update notes set tenant_id = tenant_id;
update notes set tenant_id = 'aaaaaaaa-0000-4000-8000-000000000002';
update notes n set name = p.name from people p left join orders o on o.person_id = p.id and o.id = 1 where p.id = n.id;
delete from items using orders o join people p on p.id = o.person_id where o.id = items.order_id and p.name is not null;
delete from items i using (orders o left join people p on p.id = o.person_id) where o.id = i.order_id and p.id is null;
insert into bare (id) select id from people p where not exists (select from bare b where b.id = p.id);
insert into bare (id, tenant_id) values (1, 'aaaaaaaa-0000-4000-8000-000000000002');
insert into bare values ('aaaaaaaa-0000-4000-8000-000000000002', 1, 'x');
insert into notes (id, name) values (1, 'x') on conflict do nothing;
insert into notes (id, name) values (1, 'x') on conflict (id) do nothing;
insert into notes (id, name) values (1, 'x') on conflict on constraint notes_pkey do update set name = 'c';
insert into notes as n (id, name) values (1, 'x') on conflict (tenant_id, id) do update set name = (select max(p.name) from people p where p.id = n.id) where exists (select 1 from people q where q.id = excluded.id);
insert into notes (id, name) select id + 900, name from people union all select id + 950, name from notes;
insert into notes (id, name) (select id + 900, name from people order by id limit 1);
insert into notes (id, name) values (901, (select max(name) from people)), (902, default);
insert into notes default values;
insert into notes (id, name) overriding system value values (903, 'x');
merge into notes n using people p on n.id = p.id when matched then update set name = p.name when not matched then insert (id, name) values (p.id + 500, p.name);
merge into notes n using people p on n.id = p.id or p.id = 1 when matched then delete;
merge into notes n using notes m on n.id = m.id and m.id > 2 when matched then do nothing;
merge into notes n using people p on n.tenant_id = p.tenant_id and n.id = p.id when not matched then insert (id) values (p.id + 600);
merge into notes n using (select * from people where id = 1) p on false when not matched then insert (id) values (p.id + 600);

-- Locks.
select id from people for no key update;
select id from people for key share;
select * from people for update;
select * from people p left join notes n on n.id = p.id for update of p;
select * from (select * from people) x for update;
select * from people p, lateral (select * from notes n where n.id = p.id limit 1) x for share of p;

-- Sub-queries in odd places.
select count(*) filter (where exists (select 1 from notes n where n.id = p.id)) from people p;
select sum((select count(*) from notes n where n.id = p.id)) from people p;
select max(id) over (order by (select count(*) from notes)) from people;
select id from people order by (select max(n.id) from notes n where n.id <= people.id), id;
select id from people order by id limit (select count(*) from bare);
select id from people order by id offset (select min(id) from notes);
select distinct on ((select max(id) from notes)) id from people order by (select max(id) from notes), id;
select case when exists (select from notes where id = 1) then (select count(*) from items) end;
select * from unnest(array(select id from people)) x;
select * from generate_series(1, (select count(*) from people)) x;
select * from jsonb_to_recordset((select jsonb_agg(p) from people p)) as x (id int, name text);
select * from (select id from people) as a cross join lateral (select a.id + n.id from notes n) as b;
values (1), ((select count(*) from people));
select (values ((select count(*) from people)));
select id from people where (id, name) in (values (1, 'ada'), ((select min(id) from people), 'bob'));
select id from people group by grouping sets ((id), ()) having count(*) > (select count(*) from bare);
select id from people intersect (select id from notes except select id from bare) order by 1;
(select id from people order by id limit 2) union all (select id from notes order by id limit 2);
(((select id from people)));
select * from ((select id from people) union (select id from notes)) x;

-- What is no query, or looks beyond tables.
explain select * from people;
select 1; select * from people;
select * from pg_catalog.pg_class;
select * from information_schema.tables;
select query_to_xml('select * from people', true, false, '');
select set_config('tenantry.tenant_id', 'x', true);
copy people to stdout;
truncate notes;
select * into zzz from people;
create table zzz as select * from people;
do $$ begin end $$;

-- Letters.
select E'\'' || name || ' from people' from people;
select $x$ from notes $x$ || name from people;
select id as "from" from people where "people"."id" = 1;
select id /* /* */ */ from people -- where;
select U&"\0070eople".id from people;
select * from U&"\0070eople";
select * from "People";
select * from PEOPLE, "people" p2;
select * from public."people";

-- Comments, white space and literals: what ends where.
select id from bare --<CR> union all select id from people;
select id from bare -- x<CR>, people;
select id from bare --<CR> where true or exists (select from people);
delete from bare --<CR> where id = 1;
select id from bare where id = 1 --<CR> or true;
select id from bare where id = 1 --<FF> or true;
select id from bare where id = 1 --<VT> or true;
select id from bare where id = 1 --<LS> or true;
select id<NBSP>from people;
select id from bare<NBSP>;
select id from people<VT>where id = 1;
select id from people<FF>where id = 1;
select id from<ZW> people;
<BOM>select id from people;
select 1 as a$b$, id from people -- $b$;
select 1 a$$, 'x' as b$$ from people;
select 1 as x$1, id from people where id = 1;
select a$1.id from people a$1;
select $1$ from notes $1$;
select 1 --1, id from people
from bare;
select +/* c */id from people;
select 1 +-- x
id from people;
select 1 @-- x
id from people;
select 5 */* x */ id from people;
select id from people /* -- */ where id = 1 /* ' */ or id = 2 /* " */;
select id from people /* /* */ or */;
select id from people where name = e'\'' or name = e'a\\' or name = E'it''s \' x';
select id from people where name = 'a\' or name = 'b';
select n'abc', b'101', x'1F', id from people;
select N'it''s', id from people;
select id from people where name = U&'\0061da';
select id from people where name = U&'d!0061' uescape '!';
select id from people where name = 'a'
  'b' or true;
select id from people where name = 'a' -- c
  'b' or true;
select 0x1F, 0b11, 0o17, id from people;
select 1_000, id from people;
select 1e2, .5, 1., id from people;

-- Operators.
select id from people where id isnull or id notnull;
select id from people where id between symmetric 4 and 1 or true;
select id from people where (born, born) overlaps (born, born) or true;
select id from people where name collate "C" = 'a' or true;
select id from people where born::timestamp at time zone 'UTC' is not null or true;
select id from people where doc is json or true;
select id from people where doc ? 'n' or true;
select id from people where doc ?| array['n'] or doc ?& array['n'] or doc @> '{}';
select id from people where doc -> 'n' is null or doc #>> '{n}' = '1' or doc @? '$.n' or doc @@ '$.n == 1';
select id from people where name ~* 'a' or name !~ 'b' or name ~~ 'c';
select doc['n'] from people;

-- Sub-queries where an expression may stand.
select marks[(select min(id) from bare)] from people;
select marks[1:(select max(id) from notes)] from people;
select (array(select id from notes))[1] from people;
select extract(year from (select max(born) from people));
select substring('abc' from (select min(id) from notes)::int for 1);
select overlay('abc' placing (select max(body) from notes) from 1);
select position((select max(body) from notes) in 'abc');
select trim(both (select max(body) from notes) from 'abc');
select 'a' like (select max(body) from notes) escape '!';
select 1 between (select min(id) from notes) and (select max(id) from people);
select 1 is distinct from (select max(id) from people);
select id from people fetch first (select count(*) from bare) rows only;
select sum(id) over (order by id rows between (select count(*) from bare) preceding and current row) from people;
select percentile_disc(0.5) within group (order by (select n.id from notes n where n.id = p.id)) from people p;
select string_agg(name, (select max(body) from notes) order by name) from people;
select jsonb_build_object(variadic array(select name from people where name is not null order by 1)) is null;
select make_date(year => (select count(*)::int from people), month => 1, day => 1);
select json_build_object('a', (select count(*) from people));
select xmlelement(name a, (select count(*) from people))::text;
select coalesce((select max(id) from people), (select max(id) from notes)), greatest(1, (select max(id) from people)), nullif(1, (select max(id) from people));
select (select max(id) from people)::text::int;
select cast((select max(id) from people) as text);
select row((select max(id) from people), 1) = row(1, (select max(id) from notes));
select (1, 2) = (select id, id from people order by id limit 1);
select - (select max(id) from people), not exists (select from people);
select interval '1 day' * (select count(*) from people);
select * from generate_series((select min(id) from people), 9) with ordinality g (a, b);
select * from xmltable('/a/b' passing (select xmlelement(name a, xmlagg(xmlelement(name b, name))) from people) columns x text path '.');
select * from xmltable('/a' passing xmlparse(document '<a/>') columns x text path '.' default (select max(body) from notes));
select * from people p, xmltable('/a' passing xmlparse(document '<a/>') columns x int path '.' default p.id) x;
select * from rows from (generate_series(1, (select max(id) from people)), unnest(array(select id from notes))) x;
select * from json_to_record((select to_json(p) from people p order by id limit 1)) as x (id int);
update people set marks[(select min(id) from notes)] = 5;
update people set doc['n'] = to_jsonb((select max(id) from notes));
update people set name = default where id = (select max(id) from people);
update people p set (name, age) = (select n.body, n.id from notes n where n.id = p.id) where exists (select from notes n where n.id = p.id) returning (select count(*) from items);
insert into notes (id, name) values ((select max(id) + 1 from people), 'x') returning (select count(*) from items), exists (select from notes);
insert into people (id, marks[1]) values (99, 5);
delete from notes where current_date = (select max(born) from people) or id in (select id from people);
delete from notes n using people p, orders o where n.id = p.id and o.person_id = p.id;
delete from notes where current of c;
update notes set name = 'x' where current of c;
merge into notes n using (values (1)) v (id) on n.id = v.id when matched and exists (select from people where people.id = 1) then update set name = (select max(name) from people), body = default when not matched then insert (id, name) values ((select max(id) + 900 from people), 'x');
merge into only notes n using people p on n.id = p.id when matched then delete;
merge into notes as n using only people as p on n.id = p.id when matched then delete;
with n as (select id from people) merge into notes using n on notes.id = n.id when matched then delete;
select id from people for update of people nowait;

-- Trees of joins.
select 1 from (people cross join notes) join bare on people.id = bare.id, orders;
select 1 from people cross join notes left join bare on notes.id = bare.id right join orders on true;
select 1 from people left join notes left join bare on notes.id = bare.id on people.id = notes.id;
select 1 from people left join notes full join bare on notes.id = bare.id on people.id = notes.id;
select 1 from people natural join notes natural join bare;
select 1 from (people natural full join notes) natural left join bare;
select 1 from people right join notes using (id) left join bare using (id) where id is null;
select p.id from people p left join lateral (select * from notes n where n.id = p.id) x on x.name is null;
select p.id from people p left join lateral (notes n join bare b on b.id = p.id) on n.id = p.id;
select p.id from people p right join notes n on p.id = n.id and p.name is null where p.id is null;
select p.id, n.id from people p right join notes n on p.id = n.id left join bare b on b.id = p.id;
select p.id, n.id from notes n left join people p right join bare b on b.id = p.id on p.id = n.id;
select * from people p join notes n on p.id = n.id full join bare b on b.id = n.id;
select * from people p full join notes n on true;
select count(*) from people a, people b, people c, people d where a.id = b.id;

-- The column of the tenant in the statement itself.
select * from people where tenant_id = tenant_id;
select * from people where people.tenant_id is null or true;
select tenant_id from people union select tenant_id from notes;
select distinct tenant_id from people order by tenant_id limit 1;
select max(tenant_id::text) from people;

-- More common table expressions.
with recursive t (n) as (values (1) union all select n + 1 from t where n < (select count(*) from people)) select n from t;
with recursive t as (select id from people union select id from notes where id in (select id from bare)) select * from t;
with recursive a as (select id from b), b as (select id from people) select * from a;
with a as (select id from people), a2 as (select * from a join people using (id)) select * from a2, a;
with x as materialized (select * from people), y as not materialized (select * from x) select count(*) from y;
with x as (insert into notes (id, name) select id + 700, name from people returning *), y as (update people set name = 'y' where id in (select id - 700 from x) returning id) select (select count(*) from x), (select count(*) from y), (select count(*) from notes);
with x as (delete from items returning order_id) delete from orders using x where orders.id = x.order_id;
with x as (update orders set state = 'z' returning *) insert into bare (id, name) select id, state from x returning id, name;
with x as (select 1), y as (select * from people) select * from y where (table x) = 1;
select * from people, (with z as (select * from notes) select * from z) w;
select (with z as (select * from notes) select count(*) from z), * from people;
select * from people where exists (with z as (select * from notes where notes.id = people.id) select from z);

-- Names and clauses.
select from people;
select all id from people;
select distinct all_.id from people all_;
select id from people as of;
select id as select from people;
select people."id", "people".name, public.people.id from public.people;
select public.people.* from public.people, notes where public.people.id = notes.id;
select "public"."people"."id" from "public"."people" where "public"."people"."id" in (1, 2);
select p.id from public.people p join public.notes using (id);
select public.people.id from public.people join public.notes n using (id) full join public.bare using (id);
select corpus.public.people.id from corpus.public.people;
select "Mixed Case"."Id" from "Mixed Case", "Mixed Case" m where m."Id" = "Mixed Case"."Id";
select "Mixed Case".* from "Mixed Case" full join people on "Mixed Case"."Id" = people.id;
select id from people where id = 1 order by id using >;
select id from people group by id, ();
select id from people group by all;
select count(*) from people having count(*) > 0;
select where exists (select from people);
select id from people where true is true is not false;
select id from people union all select id from notes where id = 1 or id = 2 order by id limit 3;
select id from people except select id from notes union select id from bare intersect select id from people;
select id from people where (select true) or false;
select not id = 1 or true from people where not id = 1 or true;
