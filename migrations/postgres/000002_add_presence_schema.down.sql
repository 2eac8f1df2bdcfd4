-- Undoes 000002: drops the presence schema's tables with all they hold, and its functions; nothing of anybody else.

DROP TABLE IF EXISTS
    presence.status_history,
    presence.subscriptions,
    presence.typing_indicators,
    presence.activity_log,
    presence.connections,
    presence.user_status;

DROP FUNCTION IF EXISTS
    presence.cleanup_old_records(interval),
    presence.cleanup_expired_typing(),
    presence.cleanup_stale_connections(),
    presence.record_heartbeats(text[]),
    presence.after_connection_delete(),
    presence.after_connection_change(),
    presence.after_connect(),
    presence.settle_connection(),
    presence.update_user_status(uuid, text, text),
    presence.refresh_user_status(uuid, text, text, text, timestamptz, text),
    presence.number_change(),
    presence.aggregate_status(text[]);

DROP SCHEMA IF EXISTS presence;

DELETE FROM schema_migrations WHERE version = 2;
