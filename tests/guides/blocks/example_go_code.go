// Update user status when they connect
func (s *PresenceService) UpdateStatus(ctx context.Context, req *pb.UpdateStatusRequest) error {
    query := `
        SELECT presence.update_user_status($1, $2, $3)
    `
    _, err := s.db.ExecContext(ctx, query, req.UserId, req.Status, req.DeviceId)
    return err
}

// Track active connection
func (s *PresenceService) TrackConnection(ctx context.Context, conn *Connection) error {
    query := `
        INSERT INTO presence.connections (
            user_id, connection_id, device_id, device_type,
            ip_address, user_agent, server_id, last_heartbeat_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, NOW())
        ON CONFLICT (connection_id) DO UPDATE SET
            last_heartbeat_at = NOW()
    `
    _, err := s.db.ExecContext(ctx, query,
        conn.UserId, conn.ConnectionId, conn.DeviceId, conn.DeviceType,
        conn.IpAddress, conn.UserAgent, conn.ServerId,
    )
    return err
}

// Set typing indicator
func (s *PresenceService) SetTyping(ctx context.Context, req *pb.TypingRequest) error {
    query := `
        INSERT INTO presence.typing_indicators (
            conversation_id, user_id, device_id, expires_at
        ) VALUES ($1, $2, $3, NOW() + INTERVAL '10 seconds')
        ON CONFLICT (conversation_id, user_id) DO UPDATE SET
            last_updated_at = NOW(),
            expires_at = NOW() + INTERVAL '10 seconds'
    `
    _, err := s.db.ExecContext(ctx, query,
        req.ConversationId, req.UserId, req.DeviceId,
    )
    return err
}
