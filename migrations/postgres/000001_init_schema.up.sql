-- Echo's baseline: seven schemas, one for each service, 42 tables.
--
-- Foreign keys only point backwards in the order of this file (auth, media, users, messages, notifications,
-- analytics, location), so that the schemas can be loaded and dumped in that order, and dropped in the reverse. What
-- belongs to a user hangs on auth.users: personal data goes with the account (CASCADE), what others still need outlives
-- it (SET NULL).
-- Only core PostgreSQL 15 is needed: no extension. Closed sets are text with a CHECK, because a CHECK can be changed
-- online and an enum cannot lose a value.
--
-- Every statement can be run again over itself.

CREATE TABLE IF NOT EXISTS schema_migrations (
    version bigint PRIMARY KEY,
    description text,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- auth ---------------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS auth;
COMMENT ON SCHEMA auth IS 'Accounts and how they prove who they are. Every other schema hangs on auth.users.';

CREATE OR REPLACE FUNCTION auth.set_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION auth.set_updated_at() IS
    'Sets updated_at to the time of the transaction. The triggers leave alone an UPDATE that sets updated_at itself, so that a restore or a test can back-date a row.';

CREATE TABLE IF NOT EXISTS auth.users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text CHECK (email LIKE '_%@_%' AND email = btrim(email) AND char_length(email) <= 320),
    email_verified_at timestamptz,
    phone_number text UNIQUE CHECK (phone_number ~ '^\+[1-9][0-9]{6,14}$'),
    phone_verified_at timestamptz,
    password_hash text CHECK (password_hash LIKE '$_%'),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('pending', 'active', 'suspended', 'deleted')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT users_reachable CHECK (status = 'deleted' OR num_nonnulls(email, phone_number) > 0),
    CONSTRAINT users_deleted CHECK ((status = 'deleted') = (deleted_at IS NOT NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS users_email_key ON auth.users (lower(email));
COMMENT ON TABLE auth.users IS 'One row per account: the identity that every other schema refers to.';
COMMENT ON COLUMN auth.users.email IS 'As the user wrote it; unique without regard to case.';
COMMENT ON COLUMN auth.users.phone_number IS 'E.164, with the plus sign.';
COMMENT ON COLUMN auth.users.password_hash IS
    'In PHC format ($argon2id$..., $scrypt$...), salt included. NULL: signs in by one-time code or another provider only.';
COMMENT ON COLUMN auth.users.status IS
    'pending: not verified yet. suspended: may not sign in. deleted: erased softly, deleted_at tells when.';

CREATE TABLE IF NOT EXISTS auth.sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    refresh_token_hash bytea UNIQUE CHECK (octet_length(refresh_token_hash) = 32),
    device_id text CHECK (char_length(device_id) <= 255),
    device_type text CHECK (char_length(device_type) <= 64),
    device_name text,
    user_agent text,
    ip_address inet,
    push_service text CHECK (push_service IN ('apns', 'fcm', 'web')),
    push_token text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason text CHECK (revoked_reason IN ('signed_out', 'replaced', 'password_changed', 'administrator', 'compromised')),
    CONSTRAINT sessions_expire_later CHECK (expires_at > created_at),
    CONSTRAINT sessions_push CHECK ((push_service IS NULL) = (push_token IS NULL)),
    CONSTRAINT sessions_revoked CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS sessions_user_id_idx ON auth.sessions (user_id);
COMMENT ON TABLE auth.sessions IS 'A signed-in device: valid until it expires or is revoked.';
COMMENT ON COLUMN auth.sessions.token_hash IS 'SHA-256 of the session token. The token itself is never stored.';
COMMENT ON COLUMN auth.sessions.refresh_token_hash IS 'SHA-256 of the refresh token.';
COMMENT ON COLUMN auth.sessions.device_id IS 'The client''s own name for the device; presence.connections uses the same.';
COMMENT ON COLUMN auth.sessions.device_type IS
    'What the client calls itself. An open set: a client newer than the database must be able to sign in.';
COMMENT ON COLUMN auth.sessions.push_token IS 'Where push_service delivers notifications for this device.';

CREATE TABLE IF NOT EXISTS auth.oauth_identities (
    provider text NOT NULL CHECK (provider IN ('apple', 'facebook', 'github', 'google', 'microsoft')),
    provider_user_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    email text,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    PRIMARY KEY (provider, provider_user_id),
    UNIQUE (user_id, provider)
);
COMMENT ON TABLE auth.oauth_identities IS 'Accounts at other providers that may sign in as a user. Their tokens are not kept.';
COMMENT ON COLUMN auth.oauth_identities.email IS 'What the provider said at the time; not proof of anything here.';

CREATE TABLE IF NOT EXISTS auth.one_time_codes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid REFERENCES auth.users (id) ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('sign_up', 'sign_in', 'verify_email', 'verify_phone', 'reset_password')),
    channel text NOT NULL CHECK (channel IN ('email', 'sms')),
    destination text NOT NULL,
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    attempts smallint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    consumed_at timestamptz,
    CONSTRAINT one_time_codes_expire_later CHECK (expires_at > created_at),
    CONSTRAINT one_time_codes_user CHECK (purpose = 'sign_up' OR user_id IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS one_time_codes_user_id_idx ON auth.one_time_codes (user_id);
CREATE INDEX IF NOT EXISTS one_time_codes_destination_idx ON auth.one_time_codes (destination, purpose)
    WHERE consumed_at IS NULL;
COMMENT ON TABLE auth.one_time_codes IS 'Codes and links sent to an address: verification, sign-in without password, password reset.';
COMMENT ON COLUMN auth.one_time_codes.user_id IS 'NULL only while signing up, when there is no user yet.';
COMMENT ON COLUMN auth.one_time_codes.code_hash IS 'HMAC-SHA-256 of the code under a server key: six digits would not survive a plain hash.';
COMMENT ON COLUMN auth.one_time_codes.attempts IS 'Wrong guesses so far; the service refuses the code after a few.';

CREATE TABLE IF NOT EXISTS auth.api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    key_prefix text NOT NULL CHECK (char_length(key_prefix) BETWEEN 4 AND 16),
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    UNIQUE (user_id, name)
);
COMMENT ON TABLE auth.api_keys IS 'Keys that a user''s programs sign in with.';
COMMENT ON COLUMN auth.api_keys.key_prefix IS 'The first characters of the key, to recognise it in a list.';
COMMENT ON COLUMN auth.api_keys.key_hash IS 'SHA-256 of the key. The key itself is shown once and never stored.';

CREATE TABLE IF NOT EXISTS auth.security_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    session_id uuid REFERENCES auth.sessions (id) ON DELETE SET NULL,
    event_type text NOT NULL CHECK (event_type IN (
        'sign_in', 'sign_in_failed', 'sign_out', 'session_revoked', 'password_changed', 'password_reset',
        'email_changed', 'phone_changed', 'code_failed', 'api_key_created', 'api_key_revoked', 'account_suspended',
        'account_deleted', 'suspicious_activity'
    )),
    ip_address inet,
    user_agent text,
    details jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS security_events_user_id_idx ON auth.security_events (user_id, occurred_at DESC);
CREATE INDEX IF NOT EXISTS security_events_session_id_idx ON auth.security_events (session_id);
COMMENT ON TABLE auth.security_events IS 
    'What happened to accounts, for their owners and for investigation. Rows are only added; when an account or a session goes, its events stay and no longer name it.';
COMMENT ON COLUMN auth.security_events.user_id IS 'NULL: the account is gone, or a sign-in failed for an unknown one.';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON auth.users
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON auth.sessions
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON auth.api_keys
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

-- media --------------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS media;
COMMENT ON SCHEMA media IS 'Uploaded files. Their bytes are in object storage; here is what is known about them.';

CREATE TABLE IF NOT EXISTS media.files (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    storage_key text NOT NULL UNIQUE CHECK (octet_length(storage_key) BETWEEN 1 AND 1024),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    content_type text NOT NULL CHECK (content_type LIKE '_%/_%'),
    byte_size bigint NOT NULL CHECK (byte_size >= 0),
    sha256 bytea CHECK (octet_length(sha256) = 32),
    width integer CHECK (width > 0),
    height integer CHECK (height > 0),
    duration_ms integer CHECK (duration_ms >= 0),
    status text NOT NULL DEFAULT 'uploading' CHECK (status IN ('uploading', 'processing', 'ready', 'failed', 'deleted')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS files_owner_id_idx ON media.files (owner_id, created_at DESC);
COMMENT ON TABLE media.files IS 'An uploaded file. A row outlives its owner''s account while messages show the file.';
COMMENT ON COLUMN media.files.storage_key IS 'Where the bytes are in object storage.';
COMMENT ON COLUMN media.files.name IS 'The name it had on the sender''s device.';
COMMENT ON COLUMN media.files.sha256 IS 'Of the bytes as uploaded; NULL until they have arrived.';
COMMENT ON COLUMN media.files.status IS 'deleted: the bytes are gone, the row remains for the messages that refer to it.';

CREATE TABLE IF NOT EXISTS media.file_variants (
    file_id uuid NOT NULL REFERENCES media.files (id) ON DELETE CASCADE,
    variant text NOT NULL CHECK (variant IN ('thumbnail', 'small', 'medium', 'large', 'poster', 'waveform')),
    storage_key text NOT NULL UNIQUE CHECK (octet_length(storage_key) BETWEEN 1 AND 1024),
    content_type text NOT NULL CHECK (content_type LIKE '_%/_%'),
    byte_size bigint NOT NULL CHECK (byte_size >= 0),
    width integer CHECK (width > 0),
    height integer CHECK (height > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (file_id, variant)
);
COMMENT ON TABLE media.file_variants IS 'What was derived from a file: smaller pictures, a video''s poster, a recording''s waveform.';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON media.files
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

-- users --------------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS users;
COMMENT ON SCHEMA users IS 'How people appear to one another, whom they know, and what they let others see.';

CREATE TABLE IF NOT EXISTS users.profiles (
    user_id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    username text NOT NULL CHECK (username ~ '^[A-Za-z0-9_.]{3,32}$'),
    display_name text NOT NULL CHECK (char_length(display_name) BETWEEN 1 AND 64),
    bio text CHECK (char_length(bio) <= 500),
    avatar_file_id uuid REFERENCES media.files (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS profiles_username_key ON users.profiles (lower(username));
CREATE INDEX IF NOT EXISTS profiles_avatar_file_id_idx ON users.profiles (avatar_file_id)
    WHERE avatar_file_id IS NOT NULL;
COMMENT ON TABLE users.profiles IS
    'What others see of a user. Written when the user picks a name, never made up by a trigger. Presence is not kept here but in the presence schema.';
COMMENT ON COLUMN users.profiles.username IS 'Unique without regard to case.';

CREATE TABLE IF NOT EXISTS users.contacts (
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    contact_user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'declined')),
    nickname text CHECK (char_length(nickname) BETWEEN 1 AND 64),
    is_favorite boolean NOT NULL DEFAULT false,
    last_seen_visible boolean,
    online_status_visible boolean,
    accepted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, contact_user_id),
    CONSTRAINT contacts_other CHECK (user_id <> contact_user_id),
    CONSTRAINT contacts_accepted CHECK ((status = 'accepted') = (accepted_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS contacts_contact_user_id_idx ON users.contacts (contact_user_id);
COMMENT ON TABLE users.contacts IS
    'user_id has contact_user_id in the address book. Two people who know each other are two rows; blocks are in users.blocks.';
COMMENT ON COLUMN users.contacts.status IS
    'pending: asked, no answer yet. "Contacts" in users.settings means those whom the user''s own row calls accepted.';
COMMENT ON COLUMN users.contacts.nickname IS 'What user_id calls the contact; nobody else sees it.';
COMMENT ON COLUMN users.contacts.last_seen_visible IS
    'Whether this contact may see when user_id was last seen, whatever users.settings says. NULL: as the settings say.';
COMMENT ON COLUMN users.contacts.online_status_visible IS
    'Whether this contact may see that user_id is online, whatever users.settings says. NULL: as the settings say.';

CREATE TABLE IF NOT EXISTS users.blocks (
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    blocked_user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    reason text CHECK (char_length(reason) <= 500),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, blocked_user_id),
    CONSTRAINT blocks_other CHECK (user_id <> blocked_user_id)
);
CREATE INDEX IF NOT EXISTS blocks_blocked_user_id_idx ON users.blocks (blocked_user_id);
COMMENT ON TABLE users.blocks IS
    'user_id wants nothing to do with blocked_user_id. A block hides each from the other; unblocking deletes the row.';

CREATE TABLE IF NOT EXISTS users.settings (
    user_id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    last_seen_visibility text NOT NULL DEFAULT 'contacts'
        CHECK (last_seen_visibility IN ('everyone', 'contacts', 'nobody')),
    online_status_visibility text NOT NULL DEFAULT 'contacts'
        CHECK (online_status_visibility IN ('everyone', 'contacts', 'nobody')),
    typing_indicators_enabled boolean NOT NULL DEFAULT true,
    read_receipts_enabled boolean NOT NULL DEFAULT true,
    push_enabled boolean NOT NULL DEFAULT true,
    quiet_hours_start time,
    quiet_hours_end time,
    time_zone text NOT NULL DEFAULT 'UTC' CHECK (char_length(time_zone) BETWEEN 1 AND 64),
    language text NOT NULL DEFAULT 'en' CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    theme text NOT NULL DEFAULT 'system' CHECK (theme IN ('system', 'light', 'dark')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settings_quiet_hours CHECK ((quiet_hours_start IS NULL) = (quiet_hours_end IS NULL))
);
COMMENT ON TABLE users.settings IS 'A user''s choices. A user without a row has the defaults of the columns.';
COMMENT ON COLUMN users.settings.last_seen_visibility IS
    'Who may see when the user was last seen. users.contacts can make an exception for one contact; a block beats both.';
COMMENT ON COLUMN users.settings.online_status_visibility IS
    'Who may see whether the user is online. users.contacts can make an exception for one contact; a block beats both.';
COMMENT ON COLUMN users.settings.quiet_hours_start IS 'Local time in time_zone. May be later than the end: the hours then pass midnight.';
COMMENT ON COLUMN users.settings.language IS 'A BCP 47 tag.';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON users.profiles
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON users.contacts
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON users.settings
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

-- messages -----------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS messages;
COMMENT ON SCHEMA messages IS 'Conversations, what is said in them, and calls.';

CREATE TABLE IF NOT EXISTS messages.conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('direct', 'group', 'channel')),
    direct_key text UNIQUE,
    title text CHECK (char_length(title) BETWEEN 1 AND 128),
    description text CHECK (char_length(description) <= 1000),
    avatar_file_id uuid REFERENCES media.files (id) ON DELETE SET NULL,
    created_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT conversations_direct CHECK ((kind = 'direct') = (direct_key IS NOT NULL)),
    CONSTRAINT conversations_direct_key CHECK (
        direct_key = left(direct_key, 36)::uuid::text || ':' || right(direct_key, 36)::uuid::text
        AND left(direct_key, 36)::uuid < right(direct_key, 36)::uuid
    ),
    CONSTRAINT conversations_titled CHECK ((kind = 'direct') = (title IS NULL))
);
CREATE INDEX IF NOT EXISTS conversations_created_by_idx ON messages.conversations (created_by);
CREATE INDEX IF NOT EXISTS conversations_avatar_file_id_idx ON messages.conversations (avatar_file_id)
    WHERE avatar_file_id IS NOT NULL;
COMMENT ON TABLE messages.conversations IS 'A place where people talk: two of them, a group, or a channel that few write to.';
COMMENT ON COLUMN messages.conversations.direct_key IS
    'The two user ids of a direct conversation in lower case, the smaller first, with a colon between: two people have one direct conversation, and nobody has one with themselves.';
COMMENT ON COLUMN messages.conversations.created_by IS 'NULL: that account is gone.';

CREATE TABLE IF NOT EXISTS messages.participants (
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    role text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'admin', 'member')),
    joined_at timestamptz NOT NULL DEFAULT now(),
    left_at timestamptz,
    removed_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    last_read_at timestamptz,
    muted_until timestamptz,
    archived_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, user_id),
    CONSTRAINT participants_removed CHECK (removed_by IS NULL OR left_at IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS participants_user_id_idx ON messages.participants (user_id, conversation_id);
CREATE INDEX IF NOT EXISTS participants_removed_by_idx ON messages.participants (removed_by)
    WHERE removed_by IS NOT NULL;
COMMENT ON TABLE messages.participants IS 'Who is, or was, in a conversation.';
COMMENT ON COLUMN messages.participants.joined_at IS
    'When the user came, the last time if more than once. messages.search() finds nothing older.';
COMMENT ON COLUMN messages.participants.left_at IS
    'NULL: is in it now. Who comes back gets it set to NULL again, and a trigger sets joined_at to then.';
COMMENT ON COLUMN messages.participants.removed_by IS 'Who put the user out. NULL: left by choice, or that account is gone.';
COMMENT ON COLUMN messages.participants.last_read_at IS 'Messages up to here are read; what unread counts start from.';
COMMENT ON COLUMN messages.participants.muted_until IS 'No notifications until then; infinity mutes for good.';

CREATE OR REPLACE FUNCTION messages.set_joined_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.joined_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION messages.set_joined_at() IS
    'Sets joined_at of a participant who comes back to the time of the transaction. The trigger leaves alone an UPDATE that sets joined_at itself.';

CREATE TABLE IF NOT EXISTS messages.conversation_settings (
    conversation_id uuid PRIMARY KEY REFERENCES messages.conversations (id) ON DELETE CASCADE,
    who_can_post text NOT NULL DEFAULT 'everyone' CHECK (who_can_post IN ('everyone', 'admins', 'owner')),
    who_can_invite text NOT NULL DEFAULT 'admins' CHECK (who_can_invite IN ('everyone', 'admins', 'owner')),
    who_can_edit text NOT NULL DEFAULT 'admins' CHECK (who_can_edit IN ('everyone', 'admins', 'owner')),
    typing_indicators_enabled boolean NOT NULL DEFAULT true,
    read_receipts_enabled boolean NOT NULL DEFAULT true,
    disappear_after_seconds integer CHECK (disappear_after_seconds > 0),
    slow_mode_seconds integer CHECK (slow_mode_seconds > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE messages.conversation_settings IS 'The rules of a conversation. One without a row has the defaults of the columns.';
COMMENT ON COLUMN messages.conversation_settings.disappear_after_seconds IS 'New messages expire that long after they were sent. NULL: never.';
COMMENT ON COLUMN messages.conversation_settings.slow_mode_seconds IS 'Members wait that long between messages. NULL: they don''t.';

CREATE TABLE IF NOT EXISTS messages.conversation_invites (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    invited_user_id uuid REFERENCES auth.users (id) ON DELETE CASCADE,
    token_hash bytea UNIQUE CHECK (octet_length(token_hash) = 32),
    created_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    max_uses integer CHECK (max_uses > 0),
    use_count integer NOT NULL DEFAULT 0 CHECK (use_count >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    accepted_at timestamptz,
    revoked_at timestamptz,
    UNIQUE (conversation_id, invited_user_id),
    CONSTRAINT conversation_invites_for_one_or_link CHECK (num_nonnulls(invited_user_id, token_hash) = 1),
    CONSTRAINT conversation_invites_uses CHECK (use_count <= max_uses)
);
CREATE INDEX IF NOT EXISTS conversation_invites_invited_user_id_idx ON messages.conversation_invites (invited_user_id);
CREATE INDEX IF NOT EXISTS conversation_invites_created_by_idx ON messages.conversation_invites (created_by);
COMMENT ON TABLE messages.conversation_invites IS 'An invitation for one user, or a link for whoever has it.';
COMMENT ON COLUMN messages.conversation_invites.token_hash IS 'SHA-256 of the token in the link.';
COMMENT ON COLUMN messages.conversation_invites.max_uses IS 'How many may join by the link. NULL: no limit.';

CREATE TABLE IF NOT EXISTS messages.messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    sender_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    kind text NOT NULL DEFAULT 'text' CHECK (kind IN ('text', 'media', 'location', 'contact', 'poll', 'call', 'system')),
    content text CHECK (char_length(content) <= 20000),
    reply_to_id uuid,
    forwarded_from_id uuid REFERENCES messages.messages (id) ON DELETE SET NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    edited_at timestamptz,
    expires_at timestamptz,
    deleted_at timestamptz,
    UNIQUE (conversation_id, id),
    CONSTRAINT messages_reply_in_conversation FOREIGN KEY (conversation_id, reply_to_id)
        REFERENCES messages.messages (conversation_id, id) ON DELETE SET NULL (reply_to_id),
    CONSTRAINT messages_text CHECK (kind <> 'text' OR content IS NOT NULL OR deleted_at IS NOT NULL),
    CONSTRAINT messages_deleted CHECK (deleted_at IS NULL OR content IS NULL)
);
CREATE INDEX IF NOT EXISTS messages_sender_id_idx ON messages.messages (sender_id);
CREATE INDEX IF NOT EXISTS messages_reply_to_id_idx ON messages.messages (conversation_id, reply_to_id)
    WHERE reply_to_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS messages_forwarded_from_id_idx ON messages.messages (forwarded_from_id)
    WHERE forwarded_from_id IS NOT NULL;
COMMENT ON TABLE messages.messages IS 'What was said. The largest table.';
COMMENT ON COLUMN messages.messages.id IS
    'The client may choose it, so that a message sent twice is stored once; a time-ordered UUID keeps the index compact.';
COMMENT ON COLUMN messages.messages.sender_id IS 'NULL: the system, or an account that is gone.';
COMMENT ON COLUMN messages.messages.content IS 'Text or caption. A deleted message has none.';
COMMENT ON COLUMN messages.messages.reply_to_id IS 'The message answered, always of the same conversation.';
COMMENT ON COLUMN messages.messages.metadata IS 'What a kind needs beyond its own tables: coordinates, a shared contact, a system message''s facts.';
COMMENT ON COLUMN messages.messages.edited_at IS 'When the sender last changed the content; earlier contents are in messages.message_revisions.';
COMMENT ON COLUMN messages.messages.deleted_at IS
    'Deleted for everyone. The row stays, so that replies and receipts keep their place. Who sets it empties content in the same UPDATE, and deletes the revisions, which no constraint sees to.';

CREATE TABLE IF NOT EXISTS messages.message_revisions (
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    revision integer NOT NULL CHECK (revision > 0),
    content text,
    edited_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, revision)
);
CREATE INDEX IF NOT EXISTS message_revisions_edited_by_idx ON messages.message_revisions (edited_by);
COMMENT ON TABLE messages.message_revisions IS 'What a message said before each edit.';
COMMENT ON COLUMN messages.message_revisions.revision IS '1 is what was sent first.';
COMMENT ON COLUMN messages.message_revisions.created_at IS 'When this content was replaced.';

CREATE TABLE IF NOT EXISTS messages.message_receipts (
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    delivered_at timestamptz,
    read_at timestamptz,
    PRIMARY KEY (message_id, user_id),
    CONSTRAINT message_receipts_say_something CHECK (num_nonnulls(delivered_at, read_at) > 0)
);
CREATE INDEX IF NOT EXISTS message_receipts_user_id_idx ON messages.message_receipts (user_id);
COMMENT ON TABLE messages.message_receipts IS 'When a message reached a recipient and when it was read.';

CREATE TABLE IF NOT EXISTS messages.reactions (
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    emoji text NOT NULL CHECK (octet_length(emoji) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, user_id, emoji)
);
CREATE INDEX IF NOT EXISTS reactions_user_id_idx ON messages.reactions (user_id);
COMMENT ON TABLE messages.reactions IS 'An emoji that a user put under a message; each emoji once.';

CREATE TABLE IF NOT EXISTS messages.mentions (
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, user_id)
);
CREATE INDEX IF NOT EXISTS mentions_user_id_idx ON messages.mentions (user_id, created_at DESC);
COMMENT ON TABLE messages.mentions IS 'Who is named in a message.';

CREATE TABLE IF NOT EXISTS messages.attachments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    file_id uuid NOT NULL REFERENCES media.files (id) ON DELETE RESTRICT,
    position smallint NOT NULL DEFAULT 1 CHECK (position > 0),
    caption text CHECK (char_length(caption) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, position)
);
CREATE INDEX IF NOT EXISTS attachments_file_id_idx ON messages.attachments (file_id);
COMMENT ON TABLE messages.attachments IS 'Files shown with a message. A file in use cannot be deleted, only marked so.';
COMMENT ON COLUMN messages.attachments.position IS 'Order within the message, from 1.';

CREATE TABLE IF NOT EXISTS messages.link_previews (
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    url text NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 2048),
    title text,
    description text,
    site_name text,
    image_file_id uuid REFERENCES media.files (id) ON DELETE SET NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, url)
);
CREATE INDEX IF NOT EXISTS link_previews_image_file_id_idx ON messages.link_previews (image_file_id)
    WHERE image_file_id IS NOT NULL;
COMMENT ON TABLE messages.link_previews IS 'What a linked page said of itself when it was fetched.';
COMMENT ON COLUMN messages.link_previews.url IS 'At most 2048 bytes: longer ones would not fit the key.';

CREATE TABLE IF NOT EXISTS messages.polls (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id uuid NOT NULL UNIQUE REFERENCES messages.messages (id) ON DELETE CASCADE,
    question text NOT NULL CHECK (char_length(question) BETWEEN 1 AND 300),
    allows_multiple boolean NOT NULL DEFAULT false,
    is_anonymous boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    closes_at timestamptz,
    closed_at timestamptz
);
COMMENT ON TABLE messages.polls IS 'A question put to a conversation by a message of kind poll.';
COMMENT ON COLUMN messages.polls.is_anonymous IS 'Votes are stored with their voters all the same; the service does not show who they are.';
COMMENT ON COLUMN messages.polls.closes_at IS 'When voting ends by itself; closed_at is when somebody ended it.';

CREATE TABLE IF NOT EXISTS messages.poll_options (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    poll_id uuid NOT NULL REFERENCES messages.polls (id) ON DELETE CASCADE,
    position smallint NOT NULL CHECK (position > 0),
    label text NOT NULL CHECK (char_length(label) BETWEEN 1 AND 100),
    UNIQUE (poll_id, position),
    UNIQUE (poll_id, id)
);
COMMENT ON TABLE messages.poll_options IS 'The answers to choose from.';

CREATE TABLE IF NOT EXISTS messages.poll_votes (
    poll_id uuid NOT NULL,
    option_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (poll_id, option_id, user_id),
    CONSTRAINT poll_votes_option_of_poll FOREIGN KEY (poll_id, option_id)
        REFERENCES messages.poll_options (poll_id, id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS poll_votes_user_id_idx ON messages.poll_votes (user_id);
COMMENT ON TABLE messages.poll_votes IS 'Who chose what. Whether one may choose twice is in messages.polls.allows_multiple, and the service''s to keep.';

CREATE TABLE IF NOT EXISTS messages.pinned_messages (
    conversation_id uuid NOT NULL,
    message_id uuid NOT NULL,
    pinned_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    pinned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, message_id),
    CONSTRAINT pinned_messages_of_conversation FOREIGN KEY (conversation_id, message_id)
        REFERENCES messages.messages (conversation_id, id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS pinned_messages_pinned_by_idx ON messages.pinned_messages (pinned_by);
COMMENT ON TABLE messages.pinned_messages IS 'Messages kept at the top of their own conversation.';

CREATE TABLE IF NOT EXISTS messages.bookmarks (
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    message_id uuid NOT NULL REFERENCES messages.messages (id) ON DELETE CASCADE,
    note text CHECK (char_length(note) <= 500),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, message_id)
);
CREATE INDEX IF NOT EXISTS bookmarks_message_id_idx ON messages.bookmarks (message_id);
COMMENT ON TABLE messages.bookmarks IS 'Messages that a user saved for later.';

CREATE TABLE IF NOT EXISTS messages.drafts (
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    content text NOT NULL CHECK (char_length(content) <= 20000),
    reply_to_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, conversation_id),
    CONSTRAINT drafts_reply_in_conversation FOREIGN KEY (conversation_id, reply_to_id)
        REFERENCES messages.messages (conversation_id, id) ON DELETE SET NULL (reply_to_id)
);
CREATE INDEX IF NOT EXISTS drafts_conversation_id_idx ON messages.drafts (conversation_id, reply_to_id);
COMMENT ON TABLE messages.drafts IS 'What a user began to write, the same on all devices; one in each conversation.';

CREATE TABLE IF NOT EXISTS messages.message_reports (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id uuid REFERENCES messages.messages (id) ON DELETE SET NULL,
    reported_user_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    reported_content text CHECK (char_length(reported_content) <= 20000),
    reported_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    reason text NOT NULL CHECK (reason IN ('spam', 'harassment', 'hate', 'violence', 'sexual', 'self_harm', 'illegal', 'other')),
    details text CHECK (char_length(details) <= 2000),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'reviewing', 'upheld', 'dismissed')),
    resolved_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    resolved_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, reported_by),
    CONSTRAINT message_reports_resolved CHECK ((status IN ('upheld', 'dismissed')) = (resolved_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS message_reports_reported_user_id_idx ON messages.message_reports (reported_user_id);
CREATE INDEX IF NOT EXISTS message_reports_reported_by_idx ON messages.message_reports (reported_by);
CREATE INDEX IF NOT EXISTS message_reports_resolved_by_idx ON messages.message_reports (resolved_by)
    WHERE resolved_by IS NOT NULL;
COMMENT ON TABLE messages.message_reports IS
    'A complaint about a message, and what became of it. One per message and complainant. It outlives the message, so it keeps what was reported; who writes the report fills that in.';
COMMENT ON COLUMN messages.message_reports.message_id IS 'NULL: the message is gone.';
COMMENT ON COLUMN messages.message_reports.reported_user_id IS
    'Who had sent the message. NULL: the system, or that account is gone.';
COMMENT ON COLUMN messages.message_reports.reported_content IS
    'A copy of the message''s content when it was reported, whatever was edited, deleted or expired since. NULL: it had none.';
COMMENT ON COLUMN messages.message_reports.reported_by IS 'NULL: that account is gone.';

CREATE TABLE IF NOT EXISTS messages.calls (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    started_by uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    kind text NOT NULL CHECK (kind IN ('audio', 'video')),
    status text NOT NULL DEFAULT 'ringing' CHECK (status IN ('ringing', 'ongoing', 'ended', 'missed', 'declined', 'failed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT calls_over CHECK ((status IN ('ringing', 'ongoing')) = (ended_at IS NULL)),
    CONSTRAINT calls_in_order CHECK (answered_at >= created_at AND ended_at >= coalesce(answered_at, created_at))
);
CREATE INDEX IF NOT EXISTS calls_conversation_id_idx ON messages.calls (conversation_id, created_at DESC);
CREATE INDEX IF NOT EXISTS calls_started_by_idx ON messages.calls (started_by);
COMMENT ON TABLE messages.calls IS 'Audio and video calls.';
COMMENT ON COLUMN messages.calls.created_at IS 'When it began to ring.';

CREATE TABLE IF NOT EXISTS messages.call_participants (
    call_id uuid NOT NULL REFERENCES messages.calls (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'ringing' CHECK (status IN ('ringing', 'joined', 'left', 'declined', 'missed')),
    joined_at timestamptz,
    left_at timestamptz,
    PRIMARY KEY (call_id, user_id),
    CONSTRAINT call_participants_in_order CHECK (left_at >= joined_at)
);
CREATE INDEX IF NOT EXISTS call_participants_user_id_idx ON messages.call_participants (user_id);
COMMENT ON TABLE messages.call_participants IS 'Who was called, and who took part when.';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.conversations
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_joined_at BEFORE UPDATE ON messages.participants
    FOR EACH ROW WHEN (OLD.left_at IS NOT NULL AND NEW.left_at IS NULL AND OLD.joined_at = NEW.joined_at)
    EXECUTE FUNCTION messages.set_joined_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.participants
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.conversation_settings
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.messages
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.drafts
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.message_reports
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON messages.calls
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

-- notifications ------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS notifications;
COMMENT ON SCHEMA notifications IS 'What users are told of, and over which channel it reached them.';

CREATE TABLE IF NOT EXISTS notifications.notifications (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN (
        'message', 'mention', 'reaction', 'contact_request', 'contact_accepted', 'conversation_invite', 'missed_call',
        'security', 'system'
    )),
    title text NOT NULL,
    body text,
    actor_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    conversation_id uuid REFERENCES messages.conversations (id) ON DELETE CASCADE,
    message_id uuid REFERENCES messages.messages (id) ON DELETE CASCADE,
    data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at timestamptz,
    expires_at timestamptz
);
CREATE INDEX IF NOT EXISTS notifications_user_id_idx ON notifications.notifications (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS notifications_actor_id_idx ON notifications.notifications (actor_id);
CREATE INDEX IF NOT EXISTS notifications_conversation_id_idx ON notifications.notifications (conversation_id);
CREATE INDEX IF NOT EXISTS notifications_message_id_idx ON notifications.notifications (message_id);
COMMENT ON TABLE notifications.notifications IS 'One thing one user is told of. It goes with the message or conversation it is about.';
COMMENT ON COLUMN notifications.notifications.actor_id IS 'Whose doing it is. NULL: the system''s, or that account is gone.';

CREATE TABLE IF NOT EXISTS notifications.deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notification_id uuid NOT NULL REFERENCES notifications.notifications (id) ON DELETE CASCADE,
    session_id uuid REFERENCES auth.sessions (id) ON DELETE SET NULL,
    channel text NOT NULL CHECK (channel IN ('push', 'email', 'sms', 'in_app')),
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'delivered', 'failed')),
    attempts smallint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz DEFAULT now(),
    provider_message_id text,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT deliveries_queued CHECK ((status = 'queued') = (next_attempt_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS deliveries_notification_id_idx ON notifications.deliveries (notification_id);
CREATE INDEX IF NOT EXISTS deliveries_session_id_idx ON notifications.deliveries (session_id);
COMMENT ON TABLE notifications.deliveries IS 'An attempt to bring a notification to a device or an address.';
COMMENT ON COLUMN notifications.deliveries.session_id IS 'The device, for push. NULL for other channels, or when the session is gone.';
COMMENT ON COLUMN notifications.deliveries.next_attempt_at IS 'When the sender takes it from the queue; NULL once it is out of the queue.';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON notifications.deliveries
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

-- analytics ----------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS analytics;
COMMENT ON SCHEMA analytics IS 'What happens in the product: raw events, and the daily figures made of them.';

CREATE TABLE IF NOT EXISTS analytics.user_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    session_id uuid REFERENCES auth.sessions (id) ON DELETE SET NULL,
    platform text NOT NULL CHECK (platform IN ('ios', 'android', 'web', 'desktop', 'other')),
    app_version text,
    country_code text CHECK (country_code ~ '^[A-Z]{2}$'),
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT user_sessions_in_order CHECK (ended_at >= started_at)
);
CREATE INDEX IF NOT EXISTS user_sessions_user_id_idx ON analytics.user_sessions (user_id, started_at DESC);
CREATE INDEX IF NOT EXISTS user_sessions_session_id_idx ON analytics.user_sessions (session_id);
COMMENT ON TABLE analytics.user_sessions IS 'One visit: the app in the foreground. A signed-in device (auth.sessions) has many.';
COMMENT ON COLUMN analytics.user_sessions.user_id IS 'NULL: the account is gone; the visit still counts.';

CREATE TABLE IF NOT EXISTS analytics.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[a-z0-9_.]{1,100}$'),
    user_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    user_session_id uuid REFERENCES analytics.user_sessions (id) ON DELETE SET NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL DEFAULT now(),
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS events_user_id_idx ON analytics.events (user_id);
CREATE INDEX IF NOT EXISTS events_user_session_id_idx ON analytics.events (user_session_id);
COMMENT ON TABLE analytics.events IS 
    'Something that a client or a service reported. Rows are only added, until old ones are deleted; when an account or a visit goes, its events stay and no longer name it.';
COMMENT ON COLUMN analytics.events.name IS 'An open set: features name their own events.';
COMMENT ON COLUMN analytics.events.occurred_at IS 'By the clock of who reported it; received_at is by ours.';

CREATE TABLE IF NOT EXISTS analytics.daily_active_users (
    day date NOT NULL,
    platform text NOT NULL CHECK (platform IN ('all', 'ios', 'android', 'web', 'desktop', 'other')),
    active_users bigint NOT NULL CHECK (active_users >= 0),
    new_users bigint NOT NULL CHECK (new_users >= 0),
    messages_sent bigint NOT NULL DEFAULT 0 CHECK (messages_sent >= 0),
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, platform),
    CONSTRAINT daily_active_users_new CHECK (new_users <= active_users)
);
COMMENT ON TABLE analytics.daily_active_users IS 'How many people used Echo on a day, in UTC.';
COMMENT ON COLUMN analytics.daily_active_users.platform IS 'all counts each user once, so it is less than the sum of the others.';

CREATE TABLE IF NOT EXISTS analytics.feature_usage (
    day date NOT NULL,
    feature text NOT NULL CHECK (feature ~ '^[a-z0-9_.]{1,100}$'),
    uses bigint NOT NULL CHECK (uses >= 0),
    distinct_users bigint NOT NULL CHECK (distinct_users >= 0),
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, feature),
    CONSTRAINT feature_usage_users CHECK (distinct_users <= uses)
);
COMMENT ON TABLE analytics.feature_usage IS 'How often a feature was used on a day, and by how many.';

CREATE TABLE IF NOT EXISTS analytics.funnels (
    day date NOT NULL,
    funnel text NOT NULL CHECK (funnel ~ '^[a-z0-9_.]{1,100}$'),
    step smallint NOT NULL CHECK (step > 0),
    step_name text NOT NULL,
    entered bigint NOT NULL CHECK (entered >= 0),
    completed bigint NOT NULL CHECK (completed >= 0),
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, funnel, step),
    CONSTRAINT funnels_completed CHECK (completed <= entered)
);
COMMENT ON TABLE analytics.funnels IS 'How many users came to each step of a flow on a day, and how many passed it.';

CREATE TABLE IF NOT EXISTS analytics.cohorts (
    cohort_week date NOT NULL CHECK (extract(isodow FROM cohort_week) = 1),
    week_number smallint NOT NULL CHECK (week_number >= 0),
    size bigint NOT NULL CHECK (size >= 0),
    active_users bigint NOT NULL CHECK (active_users >= 0),
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cohort_week, week_number),
    CONSTRAINT cohorts_active CHECK (active_users <= size)
);
COMMENT ON TABLE analytics.cohorts IS 'Of the users who signed up in one week, how many were active so many weeks later.';
COMMENT ON COLUMN analytics.cohorts.cohort_week IS 'The Monday of the week of signing up.';

-- location -----------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS location;
COMMENT ON SCHEMA location IS 'Where addresses are on the map, and where users were.';

CREATE TABLE IF NOT EXISTS location.ip_addresses (
    ip_address inet PRIMARY KEY,
    country_code text CHECK (country_code ~ '^[A-Z]{2}$'),
    region text,
    city text,
    latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    time_zone text,
    as_number bigint CHECK (as_number BETWEEN 0 AND 4294967295),
    as_name text,
    is_anonymous boolean NOT NULL DEFAULT false,
    looked_up_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ip_addresses_point CHECK ((latitude IS NULL) = (longitude IS NULL))
);
COMMENT ON TABLE location.ip_addresses IS 
    'What a geolocation database said of an address when it was last looked up. While a row of location.user_locations names the address, it cannot be deleted.';
COMMENT ON COLUMN location.ip_addresses.as_number IS 'Of the autonomous system that announces the address.';
COMMENT ON COLUMN location.ip_addresses.is_anonymous IS 'A VPN, proxy, Tor exit or hosting provider: the place says nothing about the user.';

CREATE TABLE IF NOT EXISTS location.user_locations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    session_id uuid REFERENCES auth.sessions (id) ON DELETE SET NULL,
    source text NOT NULL CHECK (source IN ('ip', 'device', 'shared')),
    ip_address inet REFERENCES location.ip_addresses (ip_address),
    latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    accuracy_m integer CHECK (accuracy_m >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_locations_point CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CONSTRAINT user_locations_measured CHECK (source = 'ip' OR latitude IS NOT NULL),
    CONSTRAINT user_locations_addressed CHECK (source <> 'ip' OR ip_address IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS user_locations_user_id_idx ON location.user_locations (user_id, recorded_at DESC);
CREATE INDEX IF NOT EXISTS user_locations_session_id_idx ON location.user_locations (session_id);
CREATE INDEX IF NOT EXISTS user_locations_ip_address_idx ON location.user_locations (ip_address);
COMMENT ON TABLE location.user_locations IS 'Where a user was, as far as known.';
COMMENT ON COLUMN location.user_locations.source IS 'ip: by the address. device: the device measured it. shared: the user sent it to somebody.';
COMMENT ON COLUMN location.user_locations.accuracy_m IS 'Radius in metres; NULL: unknown.';

INSERT INTO schema_migrations (version, description)
VALUES (1, 'Baseline: auth, media, users, messages, notifications, analytics and location')
ON CONFLICT (version) DO NOTHING;
