-- Update user status
SELECT presence.update_user_status('user_id', 'online', 'device_id');

-- Clean up expired typing indicators
SELECT presence.cleanup_expired_typing();

-- Mark stale connections as disconnected (30s timeout)
SELECT presence.cleanup_stale_connections();
