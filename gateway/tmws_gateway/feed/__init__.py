"""The feed of events: one reader of the stream for all who listen at this gateway."""
