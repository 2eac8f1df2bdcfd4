# Connect to database
make db-connect

# Check presence tables
\dt presence.*

# Expected output:
# presence.user_status
# presence.connections
# presence.activity_log
# presence.typing_indicators
# presence.subscriptions
# presence.status_history
