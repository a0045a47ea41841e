"""Who is calling, and what it takes to be believed."""
