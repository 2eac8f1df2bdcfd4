-- Clean up expired typing indicators
SELECT presence.cleanup_expired_typing();

-- Mark stale connections
SELECT presence.cleanup_stale_connections();
