DROP INDEX messages.messages_search_idx;
