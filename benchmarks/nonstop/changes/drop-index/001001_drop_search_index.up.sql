DROP INDEX CONCURRENTLY messages.messages_search_idx;
