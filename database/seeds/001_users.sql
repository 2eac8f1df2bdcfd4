-- Five people: alice, bob, charlie, dave and eve. Their ids and keys are fixed and nothing that exists is touched, so
-- that running the seeds again changes nothing. They have no password: they sign in with a one-time code.

INSERT INTO auth.users (id, email, email_verified_at, phone_number, created_at, updated_at)
VALUES
    ('a1111111-1111-1111-1111-111111111111', 'alice@example.com', '2025-01-06 09:00+00', '+12025550101', '2025-01-06 09:00+00', '2025-01-06 09:00+00'),
    ('b2222222-2222-2222-2222-222222222222', 'bob@example.com', '2025-01-07 10:30+00', '+12025550102', '2025-01-07 10:30+00', '2025-01-07 10:30+00'),
    ('c3333333-3333-3333-3333-333333333333', 'charlie@example.com', '2025-01-08 11:15+00', NULL, '2025-01-08 11:15+00', '2025-01-08 11:15+00'),
    ('d4444444-4444-4444-4444-444444444444', 'dave@example.com', '2025-01-13 16:45+00', NULL, '2025-01-13 16:45+00', '2025-01-13 16:45+00'),
    ('e5555555-5555-5555-5555-555555555555', 'eve@example.com', NULL, NULL, '2025-02-03 08:05+00', '2025-02-03 08:05+00')
ON CONFLICT DO NOTHING;

INSERT INTO users.profiles (user_id, username, display_name, bio)
VALUES
    ('a1111111-1111-1111-1111-111111111111', 'alice', 'Alice Archer', 'Watches waders, mostly in the rain.'),
    ('b2222222-2222-2222-2222-222222222222', 'bob', 'Bob Baker', 'Bread first, then everything else.'),
    ('c3333333-3333-3333-3333-333333333333', 'charlie', 'Charlie Chen', NULL),
    ('d4444444-4444-4444-4444-444444444444', 'dave', 'Dave Dias', 'Usually on a train.'),
    ('e5555555-5555-5555-5555-555555555555', 'eve', 'Eve Evans', NULL)
ON CONFLICT DO NOTHING;

-- Eve has no row: she has the defaults.
INSERT INTO users.settings (user_id, last_seen_visibility, online_status_visibility, time_zone, language, theme)
VALUES
    ('a1111111-1111-1111-1111-111111111111', 'contacts', 'everyone', 'Europe/London', 'en-GB', 'dark'),
    ('b2222222-2222-2222-2222-222222222222', 'everyone', 'everyone', 'Europe/Berlin', 'de', 'system'),
    ('c3333333-3333-3333-3333-333333333333', 'contacts', 'contacts', 'Asia/Singapore', 'en', 'light'),
    ('d4444444-4444-4444-4444-444444444444', 'nobody', 'nobody', 'Europe/Lisbon', 'pt', 'system')
ON CONFLICT DO NOTHING;

-- Alice, Bob and Charlie know one another; Dave knows Alice, and shows her what he shows nobody else. Eve asked Bob.
INSERT INTO users.contacts (user_id, contact_user_id, status, nickname, online_status_visible, accepted_at)
VALUES
    ('a1111111-1111-1111-1111-111111111111', 'b2222222-2222-2222-2222-222222222222', 'accepted', 'Bobby', NULL, '2025-01-09 12:00+00'),
    ('b2222222-2222-2222-2222-222222222222', 'a1111111-1111-1111-1111-111111111111', 'accepted', NULL, NULL, '2025-01-09 12:00+00'),
    ('a1111111-1111-1111-1111-111111111111', 'c3333333-3333-3333-3333-333333333333', 'accepted', NULL, NULL, '2025-01-10 18:20+00'),
    ('c3333333-3333-3333-3333-333333333333', 'a1111111-1111-1111-1111-111111111111', 'accepted', NULL, NULL, '2025-01-10 18:20+00'),
    ('b2222222-2222-2222-2222-222222222222', 'c3333333-3333-3333-3333-333333333333', 'accepted', NULL, NULL, '2025-01-11 08:40+00'),
    ('c3333333-3333-3333-3333-333333333333', 'b2222222-2222-2222-2222-222222222222', 'accepted', NULL, NULL, '2025-01-11 08:40+00'),
    ('a1111111-1111-1111-1111-111111111111', 'd4444444-4444-4444-4444-444444444444', 'accepted', NULL, NULL, '2025-01-14 07:10+00'),
    ('d4444444-4444-4444-4444-444444444444', 'a1111111-1111-1111-1111-111111111111', 'accepted', NULL, true, '2025-01-14 07:10+00'),
    ('e5555555-5555-5555-5555-555555555555', 'b2222222-2222-2222-2222-222222222222', 'pending', NULL, NULL, NULL)
ON CONFLICT DO NOTHING;

INSERT INTO users.blocks (user_id, blocked_user_id, reason, created_at)
VALUES ('a1111111-1111-1111-1111-111111111111', 'e5555555-5555-5555-5555-555555555555', 'Keeps selling things', '2025-02-04 20:00+00')
ON CONFLICT DO NOTHING;
