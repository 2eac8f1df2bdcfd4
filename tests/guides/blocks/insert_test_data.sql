-- Set user status
SELECT presence.update_user_status(
    'a1111111-1111-1111-1111-111111111111',
    'online',
    'device-123'
);

-- Verify
SELECT * FROM presence.user_status
WHERE user_id = 'a1111111-1111-1111-1111-111111111111';
