do $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    -- A service appends for its tenant and sees nothing of what others have appended, their numbers
    -- included.
    execute format('revoke all on outbox_messages from %s', conf.app_role);
    -- Neither the transaction nor the generation, by which is told what has left.
    execute format(
        'grant insert (occurred_at, tenant_id, id, causation_id, partition_id, event_type, ordering_key,'
        ' project, module, correlation_id, trace, trace_state, content_type, payload)'
        ' on outbox_messages to %s', conf.app_role);
    execute format('revoke all on sequence outbox_messages_position_seq from %s', conf.app_role);
    execute format('revoke all on outbox_parked from %s', conf.app_role);
    execute format('revoke update, delete on outbox_inbox from %s', conf.app_role);
    -- Who empties a generation.
    execute format(
        'grant truncate on outbox_messages_0, outbox_messages_1, outbox_messages_2 to %s',
        conf.platform_role);
    for generation in 0..15 loop
        execute format('grant truncate on outbox_inbox_%s to %s', generation, conf.platform_role);
    end loop;
end
$$;
