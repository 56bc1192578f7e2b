"""What a reader sees: sentences, tables and figures from finished records."""
