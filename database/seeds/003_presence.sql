-- Who is here. Statuses are reported by a device without a socket, so they lapse five minutes later if the sweep runs.
-- Only users who never had a status get one: running the seeds again, then or later, reports nothing.

SELECT presence.update_user_status(seed.user_id, seed.status, 'seed-' || seed.device)
FROM (VALUES
    ('a1111111-1111-1111-1111-111111111111'::uuid, 'online', 'phone'),
    ('b2222222-2222-2222-2222-222222222222', 'away', 'laptop'),
    ('c3333333-3333-3333-3333-333333333333', 'busy', 'laptop'),
    ('d4444444-4444-4444-4444-444444444444', 'invisible', 'phone'),
    ('e5555555-5555-5555-5555-555555555555', 'offline', 'browser')
) AS seed (user_id, status, device)
WHERE NOT EXISTS (SELECT FROM presence.user_status AS s WHERE s.user_id = seed.user_id)
ORDER BY seed.user_id;

-- Bob and Charlie follow Alice as contacts and in the group that the three share; Eve may look at Bob for a while.
INSERT INTO presence.subscriptions (subscriber_user_id, target_user_id, subscription_type, context_id, expires_at)
VALUES
    ('b2222222-2222-2222-2222-222222222222', 'a1111111-1111-1111-1111-111111111111', 'contact', NULL, NULL),
    ('c3333333-3333-3333-3333-333333333333', 'a1111111-1111-1111-1111-111111111111', 'contact', NULL, NULL),
    ('b2222222-2222-2222-2222-222222222222', 'a1111111-1111-1111-1111-111111111111', 'conversation', '0c000000-0000-4000-8000-000000000003', NULL),
    ('c3333333-3333-3333-3333-333333333333', 'a1111111-1111-1111-1111-111111111111', 'conversation', '0c000000-0000-4000-8000-000000000003', NULL),
    ('e5555555-5555-5555-5555-555555555555', 'b2222222-2222-2222-2222-222222222222', 'temporary', NULL, '2099-12-31 00:00+00')
ON CONFLICT DO NOTHING;

INSERT INTO presence.activity_log (user_id, device_id, activity_type, context_type, context_id, started_at, ended_at)
SELECT seed.user_id, seed.device_id, seed.activity_type, 'conversation', seed.context_id, seed.started_at, seed.ended_at
FROM (VALUES
    ('a1111111-1111-1111-1111-111111111111'::uuid, 'seed-phone', 'typing', '0c000000-0000-4000-8000-000000000001'::uuid, '2025-01-09 12:04:40+00'::timestamptz, '2025-01-09 12:05:00+00'::timestamptz),
    ('b2222222-2222-2222-2222-222222222222', 'seed-laptop', 'viewing', '0c000000-0000-4000-8000-000000000001', '2025-01-09 12:06:00+00', '2025-01-09 12:09:30+00')
) AS seed (user_id, device_id, activity_type, context_id, started_at, ended_at)
WHERE NOT EXISTS (
    SELECT FROM presence.activity_log AS l WHERE l.user_id = seed.user_id AND l.started_at = seed.started_at
);
