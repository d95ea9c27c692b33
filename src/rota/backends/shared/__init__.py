"""What several backends of one port do alike, so that engines do not differ."""
