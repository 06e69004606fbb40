"""Everything goes wrong on purpose: one call at a time (`crash`), or in random histories."""
