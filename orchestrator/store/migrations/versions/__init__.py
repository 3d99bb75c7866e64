"""One file for each revision of the schema, in order; a released one is never changed."""
