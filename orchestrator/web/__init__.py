"""The readers of the snapshot: guard, API, server-sent events, page, metrics."""
