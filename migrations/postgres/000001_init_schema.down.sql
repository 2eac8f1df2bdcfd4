-- Undoes 000001: drops its 42 tables with all they hold. schema_migrations stays, because it is the history.
--
-- Nothing is dropped that 000001 did not make. The tables go in one statement, so that either all of them go or none
-- does: as long as something else refers to them (the presence schema does), PostgreSQL refuses. A schema that
-- somebody put an object of their own into is refused too.

DROP TABLE IF EXISTS
    location.user_locations,
    location.ip_addresses,
    analytics.cohorts,
    analytics.funnels,
    analytics.feature_usage,
    analytics.daily_active_users,
    analytics.events,
    analytics.user_sessions,
    notifications.deliveries,
    notifications.notifications,
    messages.call_participants,
    messages.calls,
    messages.message_reports,
    messages.drafts,
    messages.bookmarks,
    messages.pinned_messages,
    messages.poll_votes,
    messages.poll_options,
    messages.polls,
    messages.link_previews,
    messages.attachments,
    messages.mentions,
    messages.reactions,
    messages.message_receipts,
    messages.message_revisions,
    messages.messages,
    messages.conversation_invites,
    messages.conversation_settings,
    messages.participants,
    messages.conversations,
    users.settings,
    users.blocks,
    users.contacts,
    users.profiles,
    media.file_variants,
    media.files,
    auth.security_events,
    auth.api_keys,
    auth.one_time_codes,
    auth.oauth_identities,
    auth.sessions,
    auth.users;

DROP FUNCTION IF EXISTS messages.set_joined_at(), auth.set_updated_at();

DROP SCHEMA IF EXISTS location, analytics, notifications, messages, users, media, auth;

DELETE FROM schema_migrations WHERE version = 1;
