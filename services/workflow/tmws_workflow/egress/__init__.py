"""What `http` steps may reach: names resolved once, every address checked, connections made to what was checked."""
