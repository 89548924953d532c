"""One server in several processes: a keeper, who alone writes, and workers, who speak with clients."""
