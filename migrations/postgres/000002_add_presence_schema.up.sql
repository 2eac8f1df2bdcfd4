-- Presence: who is here, on which devices, doing what.
--
-- How a user's status comes about
--
--   A device counts while it is live: it has a connection, or it reported a status less than five minutes ago (so that
--   a status set over REST, without a socket, is neither lost at the next sweep nor kept for ever).
--   A live device has the status that it reported last; one that only connected is online.
--   The user's status is the aggregate of the live devices: invisible before busy before online before away; with no
--   live device the user is offline. presence.aggregate_status() is that rule and nothing else.
--   A device that says offline counts as offline until it says something else or connects anew. busy and invisible are
--   choices: a device that made one has it again when it comes back. online and away are observations: they are not
--   remembered.
--
-- What keeps it right when much happens at once
--
--   user_status is one row per user and its lock is the lock on that user's presence: it is taken before connections
--   are counted, so two devices that connect at once are counted one after the other. Locks are always taken in the
--   order auth.users, connections, user_status, and among users by id. The sweep never waits for a lock at all: what it
--   cannot lock at once is being worked on, and it is left for the next sweep.
--   A heartbeat writes one column that no index holds, in a page with room for it (a HOT update), and recounts nothing.
--
-- Every statement can be run again over itself, also after DROP SCHEMA presence CASCADE.

CREATE SCHEMA IF NOT EXISTS presence;
COMMENT ON SCHEMA presence IS
    'Who is here, on which devices, doing what. Written through its functions and by inserting connections; locks are taken in the order auth.users, connections, user_status, by user id.';

-- What a status is made of -------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION presence.aggregate_status(device_statuses text[]) RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN 'invisible' = ANY (device_statuses) THEN 'invisible'
        WHEN 'busy' = ANY (device_statuses) THEN 'busy'
        WHEN 'online' = ANY (device_statuses) THEN 'online'
        WHEN 'away' = ANY (device_statuses) THEN 'away'
        ELSE 'offline'
    END
$$;
COMMENT ON FUNCTION presence.aggregate_status(text[]) IS
    'The status of a user whose live devices have these statuses: invisible, busy, online, away, else offline. invisible comes first because to show somebody who hides is worse than to hide somebody who shows.';

-- Tables -------------------------------------------------------------------------------------------------------------

CREATE SEQUENCE IF NOT EXISTS presence.user_status_changes;
COMMENT ON SEQUENCE presence.user_status_changes IS 'Numbers the visible changes of all users; see presence.user_status.change_seq.';

CREATE TABLE IF NOT EXISTS presence.user_status (
    user_id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'away', 'busy', 'invisible', 'offline')),
    is_online boolean NOT NULL GENERATED ALWAYS AS (status <> 'offline') STORED,
    status_changed_at timestamptz DEFAULT now(),
    last_seen_at timestamptz,
    active_connections integer NOT NULL DEFAULT 0 CHECK (active_connections >= 0),
    devices jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(devices) = 'object'),
    lapses_at timestamptz NOT NULL DEFAULT now(),
    custom_status_text text CHECK (char_length(custom_status_text) <= 128),
    custom_status_emoji text CHECK (octet_length(custom_status_emoji) <= 64),
    custom_status_expires_at timestamptz,
    visibility text CHECK (visibility IN ('everyone', 'contacts', 'nobody')),
    version bigint NOT NULL DEFAULT 1,
    change_seq bigint NOT NULL DEFAULT nextval('presence.user_status_changes'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER SEQUENCE presence.user_status_changes OWNED BY presence.user_status.change_seq;
CREATE INDEX IF NOT EXISTS user_status_change_seq_idx ON presence.user_status (change_seq);
CREATE INDEX IF NOT EXISTS user_status_lapses_at_idx ON presence.user_status (lapses_at)
    WHERE lapses_at < 'infinity';
CREATE INDEX IF NOT EXISTS user_status_custom_status_expires_at_idx ON presence.user_status (custom_status_expires_at)
    WHERE custom_status_expires_at IS NOT NULL;
COMMENT ON TABLE presence.user_status IS
    'A user''s status now, the aggregate of all devices. Change it with presence.update_user_status(). Who may see it is in users.settings, users.contacts and users.blocks.';
COMMENT ON COLUMN presence.user_status.status IS
    'invisible: here, but others see offline. offline: no device is live.';
COMMENT ON COLUMN presence.user_status.is_online IS 'Any status but offline: away, busy and invisible users are here too.';
COMMENT ON COLUMN presence.user_status.status_changed_at IS 'When status last changed. NULL: never had one.';
COMMENT ON COLUMN presence.user_status.last_seen_at IS
    'The last sign of life before the user was without a connection: the last heartbeat, not the time of the sweep that noticed its absence; or a report without a connection. Heartbeats do not move it: while connected, see presence.connections. Stands still from when the user became invisible.';
COMMENT ON COLUMN presence.user_status.active_connections IS 'How many rows of presence.connections are connected; kept by triggers.';
COMMENT ON COLUMN presence.user_status.devices IS
    'What devices reported: {device_id: {"status", "reported_at", "lapses_at"}}. lapses_at is null while the device is connected. A device that connected and reported nothing has no entry.';
COMMENT ON COLUMN presence.user_status.lapses_at IS
    'When the next report of a device without a connection lapses: the sweep computes the status again then. infinity: none will. A row inserted by hand is looked at by the next sweep.';
COMMENT ON COLUMN presence.user_status.custom_status_expires_at IS 'The sweep empties the custom status then. NULL: it stays.';
COMMENT ON COLUMN presence.user_status.visibility IS
    'Who may see this status for the time being. NULL: as users.settings.online_status_visibility says.';
COMMENT ON COLUMN presence.user_status.version IS 'Rises with each visible change of this user: a reader drops what is older than what it has.';
COMMENT ON COLUMN presence.user_status.change_seq IS
    'Rises with each visible change of any user: a reader that missed something asks for what is above its cursor. Transactions may commit out of this order, so read with an overlap.';

CREATE TABLE IF NOT EXISTS presence.connections (
    connection_id text PRIMARY KEY CHECK (char_length(connection_id) BETWEEN 1 AND 255),
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    device_id text NOT NULL CHECK (char_length(device_id) <= 255),
    device_type text CHECK (char_length(device_type) <= 64),
    ip_address inet,
    user_agent text,
    server_id text CHECK (char_length(server_id) <= 255),
    status text NOT NULL DEFAULT 'connected' CHECK (status IN ('connected', 'disconnected')),
    connected_at timestamptz NOT NULL DEFAULT now(),
    last_heartbeat_at timestamptz NOT NULL DEFAULT now(),
    disconnected_at timestamptz,
    disconnect_reason text CHECK (disconnect_reason IN ('disconnect', 'timeout', 'system')),
    CONSTRAINT connections_disconnected CHECK (
        (status = 'disconnected') = (disconnected_at IS NOT NULL)
        AND (status = 'disconnected') = (disconnect_reason IS NOT NULL)
    )
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX IF NOT EXISTS connections_user_id_idx ON presence.connections (user_id);
-- Not partial on the connected: after a mass disconnect the statistics call those rare, and the planner would read all of
-- such an index to find one user's.
CREATE INDEX IF NOT EXISTS connections_server_id_idx ON presence.connections (server_id);
CREATE INDEX IF NOT EXISTS connections_disconnected_at_idx ON presence.connections (disconnected_at)
    WHERE status = 'disconnected';
COMMENT ON TABLE presence.connections IS
    'Sockets. Inserting one connects its user, setting status to disconnected or deleting the row disconnects; triggers keep presence.user_status. No index holds last_heartbeat_at, so that heartbeats are HOT updates.';
COMMENT ON COLUMN presence.connections.device_id IS 'The client''s own name for the device, as in auth.sessions. May be empty: the device without a name.';
COMMENT ON COLUMN presence.connections.device_type IS
    'What the client calls itself. An open set: a client newer than the database must be able to connect.';
COMMENT ON COLUMN presence.connections.server_id IS 'The server that holds the socket: where to send what is for this user.';
COMMENT ON COLUMN presence.connections.status IS
    'A disconnected connection whose heartbeat moves forward is connected again: the sweep was wrong about it.';
COMMENT ON COLUMN presence.connections.last_heartbeat_at IS 'Without a heartbeat for 30 seconds the sweep disconnects it.';
COMMENT ON COLUMN presence.connections.disconnect_reason IS
    'disconnect: the client or its server closed it. timeout: the sweep found it silent. system: the server is gone or drains. Set to disconnect if left empty.';

CREATE TABLE IF NOT EXISTS presence.activity_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    device_id text,
    activity_type text NOT NULL CHECK (activity_type IN ('typing', 'viewing', 'recording', 'uploading', 'calling')),
    context_type text CHECK (context_type IN ('conversation', 'profile', 'media', 'call')),
    context_id uuid,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    duration_seconds numeric GENERATED ALWAYS AS (extract(epoch FROM ended_at - started_at)) STORED,
    CONSTRAINT activity_log_context CHECK ((context_type IS NULL) = (context_id IS NULL)),
    CONSTRAINT activity_log_in_order CHECK (ended_at >= started_at)
);
CREATE INDEX IF NOT EXISTS activity_log_user_id_idx ON presence.activity_log (user_id, started_at DESC);
CREATE INDEX IF NOT EXISTS activity_log_started_at_idx ON presence.activity_log USING brin (started_at);
COMMENT ON TABLE presence.activity_log IS 'What a user was doing, and where. presence.cleanup_old_records() deletes what is old.';
COMMENT ON COLUMN presence.activity_log.context_id IS
    'The conversation, profile, file or call; no foreign key, because it may be gone and the activity still took place.';
COMMENT ON COLUMN presence.activity_log.ended_at IS 'NULL: still going on, or its end was never reported.';

CREATE TABLE IF NOT EXISTS presence.typing_indicators (
    conversation_id uuid NOT NULL REFERENCES messages.conversations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    device_id text,
    started_at timestamptz NOT NULL DEFAULT now(),
    last_updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now() + interval '10 seconds',
    PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE presence.typing_indicators IS
    'Who is typing where. Rows live for seconds, so the table stays small and the primary key is its only index: a keystroke is a HOT update. A reader takes rows with expires_at in the future; presence.cleanup_expired_typing() deletes the others.';

CREATE TABLE IF NOT EXISTS presence.subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    subscriber_user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    target_user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    subscription_type text NOT NULL CHECK (subscription_type IN ('contact', 'conversation', 'temporary')),
    context_id uuid REFERENCES messages.conversations (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    CONSTRAINT subscriptions_once UNIQUE NULLS NOT DISTINCT (subscriber_user_id, target_user_id, subscription_type, context_id),
    CONSTRAINT subscriptions_other CHECK (subscriber_user_id <> target_user_id),
    CONSTRAINT subscriptions_conversation CHECK (
        CASE subscription_type
            WHEN 'conversation' THEN context_id IS NOT NULL
            WHEN 'contact' THEN context_id IS NULL
            ELSE true
        END
    ),
    CONSTRAINT subscriptions_temporary CHECK (subscription_type <> 'temporary' OR expires_at IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS subscriptions_target_user_id_idx ON presence.subscriptions (target_user_id);
CREATE INDEX IF NOT EXISTS subscriptions_context_id_idx ON presence.subscriptions (context_id)
    WHERE context_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS subscriptions_expires_at_idx ON presence.subscriptions (expires_at)
    WHERE expires_at IS NOT NULL;
COMMENT ON TABLE presence.subscriptions IS
    'Who wants to hear of whose presence, and why. Whether they may is decided when it is sent.';
COMMENT ON COLUMN presence.subscriptions.context_id IS
    'The conversation that the two share. Two who share two conversations have two subscriptions, and leaving one keeps the other.';
COMMENT ON COLUMN presence.subscriptions.expires_at IS 'A reader ignores the subscription from then on. Temporary ones always have it.';

CREATE TABLE IF NOT EXISTS presence.status_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    previous_status text CHECK (previous_status IN ('online', 'away', 'busy', 'invisible', 'offline')),
    new_status text NOT NULL CHECK (new_status IN ('online', 'away', 'busy', 'invisible', 'offline')),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_seconds numeric CHECK (duration_seconds >= 0),
    change_reason text NOT NULL CHECK (change_reason IN ('manual', 'connect', 'disconnect', 'timeout', 'system')),
    device_id text,
    connection_id text,
    CONSTRAINT status_history_transition CHECK (previous_status <> new_status)
);
CREATE INDEX IF NOT EXISTS status_history_user_id_idx ON presence.status_history (user_id, changed_at DESC);
CREATE INDEX IF NOT EXISTS status_history_changed_at_idx ON presence.status_history USING brin (changed_at);
COMMENT ON TABLE presence.status_history IS
    'Each time the status of a user changed, one row. Only the user may see it; presence.cleanup_old_records() deletes what is old.';
COMMENT ON COLUMN presence.status_history.previous_status IS 'NULL: the user''s first status.';
COMMENT ON COLUMN presence.status_history.duration_seconds IS 'How long the previous status lasted. NULL for the first.';
COMMENT ON COLUMN presence.status_history.change_reason IS
    'manual: a device said so. connect, disconnect: a socket came or went. timeout: heartbeats or reports stopped. system: a server went away.';
COMMENT ON COLUMN presence.status_history.device_id IS 'The device that brought it about. NULL: a report lapsed.';
COMMENT ON COLUMN presence.status_history.connection_id IS 'The connection that came or went. NULL where there was none.';

-- Keeping user_status ------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION presence.number_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.change_seq := nextval('presence.user_status_changes');
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION presence.number_change() IS 'Numbers a visible change of presence.user_status, whoever made it.';

CREATE OR REPLACE TRIGGER number_change BEFORE UPDATE ON presence.user_status
    FOR EACH ROW WHEN (
        OLD.status <> NEW.status
        OR OLD.custom_status_text IS DISTINCT FROM NEW.custom_status_text
        OR OLD.custom_status_emoji IS DISTINCT FROM NEW.custom_status_emoji
        OR OLD.visibility IS DISTINCT FROM NEW.visibility
    )
    EXECUTE FUNCTION presence.number_change();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON presence.user_status
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION auth.set_updated_at();

CREATE OR REPLACE FUNCTION presence.refresh_user_status(
    p_user_id uuid,
    p_reason text,
    p_device_id text DEFAULT NULL,
    p_connection_id text DEFAULT NULL,
    p_seen_at timestamptz DEFAULT NULL,
    p_report text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    report_lasts CONSTANT interval := '5 minutes';
    choice_lasts CONSTANT interval := '30 days';
    v_old presence.user_status;
    v_now timestamptz;
    v_status text;
    v_devices jsonb;
    v_connections integer;
    v_reporter_connected boolean;
    v_lapses_at timestamptz;
    v_seen_at timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM presence.user_status AS s WHERE s.user_id = p_user_id) THEN
        -- The foreign key would take this lock too, but after the row is there; see the sweep.
        PERFORM FROM auth.users AS u WHERE u.id = p_user_id FOR KEY SHARE;
        INSERT INTO presence.user_status (user_id, status_changed_at, lapses_at)
        VALUES (p_user_id, NULL, 'infinity')
        ON CONFLICT (user_id) DO NOTHING;
    END IF;

    SELECT s.* INTO STRICT v_old
    FROM presence.user_status AS s
    WHERE s.user_id = p_user_id
    FOR UPDATE;

    -- Only now: whoever got the lock later also has the later time, and sees what was committed before.
    v_now := clock_timestamp();
    v_devices := v_old.devices;
    IF p_report IS NOT NULL THEN
        v_devices := v_devices || jsonb_build_object(p_device_id, jsonb_build_object(
            'status', p_report, 'reported_at', v_now, 'lapses_at', v_now + report_lasts
        ));
    ELSIF p_reason = 'connect' AND v_devices #>> ARRAY[p_device_id, 'status'] IN ('offline', 'away') THEN
        v_devices := v_devices - p_device_id;
    END IF;

    WITH connected AS (
        SELECT c.device_id, count(*) AS connections
        FROM presence.connections AS c
        WHERE c.user_id = p_user_id AND c.status = 'connected'
        GROUP BY c.device_id
    ), device AS (
        SELECT
            coalesce(r.key, c.device_id) AS device_id,
            r.value AS report,
            coalesce(r.value ->> 'status', 'online') AS status,
            coalesce(c.connections, 0) AS connections,
            CASE
                WHEN c.connections > 0 THEN NULL
                ELSE coalesce((r.value ->> 'lapses_at')::timestamptz, v_now)
            END AS lapses_at
        FROM jsonb_each(v_devices) AS r
        FULL JOIN connected AS c ON c.device_id = r.key
    )
    SELECT
        presence.aggregate_status(array_agg(d.status) FILTER (WHERE d.lapses_at IS NULL OR d.lapses_at > v_now)),
        coalesce(sum(d.connections), 0),
        coalesce(bool_or(d.connections > 0) FILTER (WHERE d.device_id = p_device_id), false),
        coalesce(min(d.lapses_at) FILTER (WHERE d.lapses_at > v_now AND d.status <> 'offline'), 'infinity'),
        coalesce(
            jsonb_object_agg(d.device_id, d.report || jsonb_build_object('lapses_at', d.lapses_at)) FILTER (
                WHERE d.report IS NOT NULL AND CASE
                    WHEN d.lapses_at IS NULL THEN true
                    WHEN d.status IN ('busy', 'invisible') THEN d.lapses_at > v_now - choice_lasts
                    WHEN d.status = 'offline' THEN false
                    ELSE d.lapses_at > v_now
                END
            ),
            '{}'
        )
    INTO v_status, v_connections, v_reporter_connected, v_lapses_at, v_devices
    FROM device AS d;

    v_seen_at := CASE
        WHEN v_old.status = 'invisible' AND v_status IN ('invisible', 'offline') THEN v_old.last_seen_at
        WHEN v_status = 'invisible' THEN v_now
        WHEN p_report IS NOT NULL AND NOT v_reporter_connected THEN v_now
        WHEN p_seen_at IS NOT NULL THEN greatest(v_old.last_seen_at, least(p_seen_at, v_now))
        ELSE v_old.last_seen_at
    END;

    IF v_old.status_changed_at IS NULL OR v_status <> v_old.status THEN
        INSERT INTO presence.status_history (
            user_id, previous_status, new_status, changed_at, duration_seconds, change_reason, device_id, connection_id
        ) VALUES (
            p_user_id,
            CASE WHEN v_old.status_changed_at IS NOT NULL THEN v_old.status END,
            v_status,
            v_now,
            CASE
                WHEN v_old.status_changed_at < v_now THEN extract(epoch FROM v_now - v_old.status_changed_at)
                WHEN v_old.status_changed_at >= v_now THEN 0
            END,
            p_reason,
            p_device_id,
            p_connection_id
        );
        v_old.status_changed_at := v_now;
    END IF;

    UPDATE presence.user_status AS s
    SET status = v_status,
        status_changed_at = v_old.status_changed_at,
        last_seen_at = v_seen_at,
        active_connections = v_connections,
        devices = v_devices,
        lapses_at = v_lapses_at
    WHERE s.user_id = p_user_id;

    RETURN v_status;
END
$$;
COMMENT ON FUNCTION presence.refresh_user_status(uuid, text, text, text, timestamptz, text) IS
    'Locks the user''s row of presence.user_status, computes it again from connections and reports, and writes a row of presence.status_history if the status changed. The other functions and the triggers come here; call it by hand to mend a row. The head of the migration tells the rules.';

CREATE OR REPLACE FUNCTION presence.update_user_status(p_user_id uuid, p_status text, p_device_id text) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF p_status IS NULL OR p_status NOT IN ('online', 'away', 'busy', 'invisible', 'offline') THEN
        RAISE EXCEPTION 'unknown presence status %', coalesce(quote_literal(p_status), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A status is online, away, busy, invisible or offline.';
    END IF;

    -- The same lock that the foreign keys take, but first: an account that is being deleted is waited for here, where
    -- nothing is held that its deletion waits for.
    PERFORM FROM auth.users AS u WHERE u.id = p_user_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no user % to set the presence of', coalesce(p_user_id::text, 'NULL')
            USING ERRCODE = 'foreign_key_violation',
                SCHEMA = 'presence', TABLE = 'user_status', CONSTRAINT = 'user_status_user_id_fkey',
                DETAIL = format('Key (user_id)=(%s) is not present in table "users".', p_user_id);
    END IF;

    RETURN presence.refresh_user_status(p_user_id, 'manual', coalesce(p_device_id, ''), p_report => p_status);
END
$$;
COMMENT ON FUNCTION presence.update_user_status(uuid, text, text) IS
    'A device reports its status; returns the status of the user, which other live devices may outweigh. Without a connection the report lasts five minutes: repeat it, or connect.';

-- Connections --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION presence.settle_connection() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.status = 'disconnected' AND OLD.status = 'disconnected' THEN
        NEW.status := 'connected';
    END IF;
    IF NEW.status = 'connected' THEN
        NEW.connected_at := clock_timestamp();
        NEW.disconnected_at := NULL;
        NEW.disconnect_reason := NULL;
    ELSE
        NEW.disconnected_at := coalesce(NEW.disconnected_at, clock_timestamp());
        NEW.disconnect_reason := coalesce(NEW.disconnect_reason, 'disconnect');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION presence.settle_connection() IS
    'Fills in what goes with a change of presence.connections.status, and connects again what still has heartbeats.';

CREATE OR REPLACE TRIGGER settle_connection BEFORE UPDATE ON presence.connections
    FOR EACH ROW WHEN (
        OLD.status <> NEW.status
        OR OLD.status = 'disconnected' AND NEW.last_heartbeat_at > OLD.last_heartbeat_at
    )
    EXECUTE FUNCTION presence.settle_connection();

-- The plans of the next three are kept with the number of rows of the statement that was first. If that was thousands,
-- they look dear enough to be compiled, and compiling for the one row of the next statements takes far longer than they do.
CREATE OR REPLACE FUNCTION presence.after_connect() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
SET jit = off
AS $$
BEGIN
    PERFORM presence.refresh_user_status(c.user_id, 'connect', c.device_id, c.connection_id)
    FROM (
        SELECT DISTINCT ON (i.user_id, i.device_id) i.user_id, i.device_id, i.connection_id
        FROM inserted AS i
        WHERE i.status = 'connected'
        ORDER BY i.user_id, i.device_id, i.last_heartbeat_at DESC
    ) AS c;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION presence.after_connect() IS 'Brings presence.user_status up to date for new connections, users in order.';

CREATE OR REPLACE FUNCTION presence.after_connection_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
SET jit = off
AS $$
BEGIN
    PERFORM presence.refresh_user_status(
        c.user_id,
        coalesce(c.disconnect_reason, 'connect'),
        c.device_id,
        c.connection_id,
        CASE WHEN c.status = 'disconnected' THEN c.last_heartbeat_at END
    )
    FROM (
        -- A call for each device that came, but one for all that went: the one heard last was the last to go.
        SELECT DISTINCT ON (n.user_id, n.status, came.device_id)
            n.user_id, n.status, n.disconnect_reason, n.device_id, n.connection_id, n.last_heartbeat_at
        FROM after_update AS n
        JOIN before_update AS o USING (connection_id)
        CROSS JOIN LATERAL (SELECT CASE WHEN n.status = 'connected' THEN n.device_id END AS device_id) AS came
        WHERE n.status <> o.status
        ORDER BY n.user_id, n.status, came.device_id, n.last_heartbeat_at DESC
    ) AS c;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION presence.after_connection_change() IS
    'Brings presence.user_status up to date for connections that came or went, users in order. Heartbeats change no status and stop here.';

CREATE OR REPLACE FUNCTION presence.after_connection_delete() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
SET jit = off
AS $$
BEGIN
    -- Not for a user who is being deleted with the connections.
    PERFORM presence.refresh_user_status(c.user_id, 'disconnect', c.device_id, c.connection_id, c.last_heartbeat_at)
    FROM (
        SELECT DISTINCT ON (d.user_id) d.user_id, d.device_id, d.connection_id, d.last_heartbeat_at
        FROM deleted AS d
        JOIN auth.users AS u ON u.id = d.user_id
        WHERE d.status = 'connected'
        ORDER BY d.user_id, d.last_heartbeat_at DESC
    ) AS c;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION presence.after_connection_delete() IS 'Brings presence.user_status up to date for deleted connections, users in order.';

CREATE OR REPLACE TRIGGER after_connect AFTER INSERT ON presence.connections
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION presence.after_connect();
CREATE OR REPLACE TRIGGER after_connection_change AFTER UPDATE ON presence.connections
    REFERENCING OLD TABLE AS before_update NEW TABLE AS after_update
    FOR EACH STATEMENT EXECUTE FUNCTION presence.after_connection_change();
CREATE OR REPLACE TRIGGER after_connection_delete AFTER DELETE ON presence.connections
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION presence.after_connection_delete();

CREATE OR REPLACE FUNCTION presence.record_heartbeats(p_connection_ids text[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_rows integer;
BEGIN
    WITH held AS MATERIALIZED (
        SELECT k.connection_id
        FROM presence.connections AS k
        WHERE k.connection_id = ANY (p_connection_ids)
        ORDER BY k.connection_id
        FOR NO KEY UPDATE
    )
    UPDATE presence.connections AS c
    SET last_heartbeat_at = clock_timestamp()
    FROM held AS h
    WHERE c.connection_id = h.connection_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION presence.record_heartbeats(text[]) IS
    'Heartbeats of many connections at once. They are locked in order, so that batches in different order do not deadlock. Returns how many of them are known; the others have to be inserted.';

-- Cleaning up --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION presence.cleanup_stale_connections() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    -- The clock, not the start of a transaction that may be old: a heartbeat since then must count.
    v_now CONSTANT timestamptz := clock_timestamp();
    v_stale CONSTANT timestamptz := v_now - interval '30 seconds';
    v_user_id uuid;
    v_status text;
    v_rows integer;
    v_cleaned integer := 0;
BEGIN
    FOR v_user_id IN
        SELECT c.user_id
        FROM presence.connections AS c
        WHERE c.status = 'connected' AND c.last_heartbeat_at < v_stale
        UNION
        SELECT s.user_id
        FROM presence.user_status AS s
        WHERE s.lapses_at < 'infinity' AND s.lapses_at <= v_now
        ORDER BY user_id
    LOOP
        PERFORM FROM auth.users AS u WHERE u.id = v_user_id FOR KEY SHARE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;

        IF NOT EXISTS (SELECT FROM presence.user_status AS s WHERE s.user_id = v_user_id) THEN
            -- The row was lost, the connections were not. Whoever else is making it holds the user's key, and only this
            -- stronger lock shows that: without it the insert would wait for them.
            PERFORM FROM auth.users AS u WHERE u.id = v_user_id FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            INSERT INTO presence.user_status (user_id, status_changed_at, lapses_at)
            VALUES (v_user_id, NULL, 'infinity')
            ON CONFLICT (user_id) DO NOTHING;
        END IF;

        SELECT s.status INTO v_status
        FROM presence.user_status AS s
        WHERE s.user_id = v_user_id
        FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;

        UPDATE presence.connections AS c
        SET status = 'disconnected', disconnected_at = v_now, disconnect_reason = 'timeout'
        WHERE c.connection_id IN (
            SELECT k.connection_id
            FROM presence.connections AS k
            WHERE k.user_id = v_user_id AND k.status = 'connected' AND k.last_heartbeat_at < v_stale
            FOR UPDATE SKIP LOCKED
        );
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_cleaned := v_cleaned + v_rows;

        IF v_rows = 0 AND presence.refresh_user_status(v_user_id, 'timeout') <> v_status THEN
            v_cleaned := v_cleaned + 1;
        END IF;
    END LOOP;

    UPDATE presence.user_status AS s
    SET custom_status_text = NULL, custom_status_emoji = NULL, custom_status_expires_at = NULL
    WHERE s.user_id IN (
        SELECT k.user_id
        FROM presence.user_status AS k
        WHERE k.custom_status_expires_at <= v_now
        FOR UPDATE SKIP LOCKED
    );

    RETURN v_cleaned;
END
$$;
COMMENT ON FUNCTION presence.cleanup_stale_connections() IS
    'The sweep: disconnects what had no heartbeat for 30 seconds, lets reports lapse, empties custom statuses past their time. Returns how many connections it disconnected plus how many statuses lapsed without one. Never waits for a lock; call it every second or so, from as many places as you like.';

CREATE OR REPLACE FUNCTION presence.cleanup_expired_typing() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_deleted integer;
BEGIN
    DELETE FROM presence.typing_indicators AS t
    WHERE (t.conversation_id, t.user_id) IN (
        SELECT k.conversation_id, k.user_id
        FROM presence.typing_indicators AS k
        WHERE k.expires_at <= v_now
        FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION presence.cleanup_expired_typing() IS
    'Deletes typing indicators past their time and returns how many. Never waits for a lock.';

CREATE OR REPLACE FUNCTION presence.cleanup_old_records(p_keep interval DEFAULT '30 days') RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    batch CONSTANT integer := 10000;
    v_now CONSTANT timestamptz := clock_timestamp();
    v_rows integer;
    v_deleted integer := 0;
BEGIN
    DELETE FROM presence.status_history AS h WHERE h.id IN (
        SELECT k.id FROM presence.status_history AS k
        WHERE k.changed_at < v_now - p_keep LIMIT batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    DELETE FROM presence.activity_log AS a WHERE a.id IN (
        SELECT k.id FROM presence.activity_log AS k
        WHERE k.started_at < v_now - p_keep LIMIT batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    DELETE FROM presence.connections AS c WHERE c.connection_id IN (
        SELECT k.connection_id FROM presence.connections AS k
        WHERE k.status = 'disconnected' AND k.disconnected_at < v_now - least(p_keep, interval '1 day')
        LIMIT batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    DELETE FROM presence.subscriptions AS s WHERE s.id IN (
        SELECT k.id FROM presence.subscriptions AS k
        WHERE k.expires_at <= v_now LIMIT batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_deleted + v_rows;
END
$$;
COMMENT ON FUNCTION presence.cleanup_old_records(interval) IS
    'Deletes history and activity older than p_keep, connections that ended more than a day ago and subscriptions past their time, at most 10000 of each, and returns how many: call it again until it returns 0. Never waits for a lock.';

-- What was there before ----------------------------------------------------------------------------------------------

-- CREATE TABLE IF NOT EXISTS takes any table of that name for its own. One made by hand shows by its missing key.
DO $$
DECLARE
    v_table text;
    v_key text;
BEGIN
    FOR v_table, v_key IN
        SELECT t.name, t.key
        FROM (VALUES
            ('user_status', 'PRIMARY KEY (user_id)'),
            ('connections', 'PRIMARY KEY (connection_id)'),
            ('activity_log', 'PRIMARY KEY (id)'),
            ('typing_indicators', 'PRIMARY KEY (conversation_id, user_id)'),
            ('subscriptions', 'PRIMARY KEY (id)'),
            ('status_history', 'PRIMARY KEY (id)')
        ) AS t (name, key)
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint AS k
            WHERE k.conrelid = to_regclass('presence.' || t.name)
                AND k.contype = 'p'
                AND pg_get_constraintdef(k.oid) = t.key
        )
    LOOP
        RAISE EXCEPTION 'table presence.% lacks its %', v_table, v_key
            USING ERRCODE = 'invalid_table_definition',
                SCHEMA = 'presence', TABLE = v_table,
                HINT = 'It was not made by this migration. Drop or rename it, then run the migration again.';
    END LOOP;
END
$$;

INSERT INTO schema_migrations (version, description)
VALUES (2, 'Add presence: status, connections, activity, typing, subscriptions and history')
ON CONFLICT (version) DO NOTHING;
