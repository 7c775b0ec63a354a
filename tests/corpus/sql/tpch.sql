create table supplier ({tenant}, s_suppkey int, s_name text not null, s_address text not null,
    s_nationkey int not null, s_phone text not null, s_acctbal numeric not null, s_comment text not null,
    primary key (tenant_id, s_suppkey));
create table part ({tenant}, p_partkey int, p_name text not null, p_mfgr text not null,
    p_brand text not null, p_type text not null, p_size int not null, p_container text not null,
    p_retailprice numeric not null, primary key (tenant_id, p_partkey));
create table partsupp ({tenant}, ps_partkey int, ps_suppkey int, ps_availqty int not null,
    ps_supplycost numeric not null, primary key (tenant_id, ps_partkey, ps_suppkey));
create table customer ({tenant}, c_custkey int, c_name text not null, c_address text not null,
    c_nationkey int not null, c_phone text not null, c_acctbal numeric not null,
    c_mktsegment text not null, c_comment text not null, primary key (tenant_id, c_custkey));
create table orders ({tenant}, o_orderkey int, o_custkey int not null, o_orderstatus text not null,
    o_totalprice numeric not null, o_orderdate date not null, o_orderpriority text not null,
    o_clerk text not null, o_shippriority int not null, o_comment text not null,
    primary key (tenant_id, o_orderkey));
create index on orders (tenant_id, o_custkey);
create table lineitem ({tenant}, l_orderkey int, l_partkey int not null, l_suppkey int not null,
    l_linenumber int, l_quantity int not null, l_extendedprice numeric not null,
    l_discount numeric not null, l_tax numeric not null, l_returnflag text not null,
    l_linestatus text not null, l_shipdate date not null, l_commitdate date not null,
    l_receiptdate date not null, l_shipinstruct text not null, l_shipmode text not null,
    l_comment text not null, primary key (tenant_id, l_orderkey, l_linenumber));
create index on lineitem (tenant_id, l_partkey, l_suppkey);
