create table warehouse ({tenant}, w_id int, w_name text, w_street text, w_city text, w_tax numeric,
    w_ytd numeric, primary key (tenant_id, w_id));
create table district ({tenant}, d_w_id int, d_id int, d_name text, d_street text, d_city text,
    d_tax numeric, d_ytd numeric, d_next_o_id int, primary key (tenant_id, d_w_id, d_id),
    foreign key (tenant_id, d_w_id) references warehouse (tenant_id, w_id));
create table customer ({tenant}, c_w_id int, c_d_id int, c_id int, c_first text, c_middle text,
    c_last text, c_street text, c_city text, c_credit text, c_discount numeric, c_balance numeric,
    c_ytd_payment numeric, c_payment_cnt int, c_delivery_cnt int, c_data text,
    primary key (tenant_id, c_w_id, c_d_id, c_id),
    foreign key (tenant_id, c_w_id, c_d_id) references district (tenant_id, d_w_id, d_id));
create index on customer (tenant_id, c_w_id, c_d_id, c_last);
create table history ({tenant}, h_c_id int, h_c_d_id int, h_c_w_id int, h_d_id int, h_w_id int,
    h_date timestamp, h_amount numeric, h_data text,
    foreign key (tenant_id, h_c_w_id, h_c_d_id, h_c_id) references customer (tenant_id, c_w_id, c_d_id, c_id));
create index on history (tenant_id);
create table item ({tenant}, i_id int, i_name text, i_price numeric, i_data text,
    primary key (tenant_id, i_id));
create table stock ({tenant}, s_w_id int, s_i_id int, s_quantity int, s_dist_01 text, s_dist_02 text,
    s_ytd int, s_order_cnt int, s_remote_cnt int, s_data text, primary key (tenant_id, s_w_id, s_i_id),
    foreign key (tenant_id, s_i_id) references item (tenant_id, i_id));
create table oorder ({tenant}, o_w_id int, o_d_id int, o_id int, o_c_id int, o_entry_d timestamp,
    o_carrier_id int, o_ol_cnt int, o_all_local int, primary key (tenant_id, o_w_id, o_d_id, o_id),
    foreign key (tenant_id, o_w_id, o_d_id, o_c_id) references customer (tenant_id, c_w_id, c_d_id, c_id));
create table new_order ({tenant}, no_w_id int, no_d_id int, no_o_id int,
    primary key (tenant_id, no_w_id, no_d_id, no_o_id),
    foreign key (tenant_id, no_w_id, no_d_id, no_o_id) references oorder (tenant_id, o_w_id, o_d_id, o_id));
create table order_line ({tenant}, ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int,
    ol_supply_w_id int, ol_delivery_d timestamp, ol_quantity int, ol_amount numeric, ol_dist_info text,
    primary key (tenant_id, ol_w_id, ol_d_id, ol_o_id, ol_number),
    foreign key (tenant_id, ol_w_id, ol_d_id, ol_o_id) references oorder (tenant_id, o_w_id, o_d_id, o_id));
