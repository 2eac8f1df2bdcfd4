SELECT to_regclass('messages.messages_search_idx') IS NULL;
